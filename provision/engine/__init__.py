"""Ansible's language: playbooks, variables, runs, results, reports."""
