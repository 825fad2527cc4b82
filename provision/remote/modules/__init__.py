"""One file per Ansible module."""
