"""Ansible's templates: Jinja2 with native types, in a sandbox."""
