"""Hosts, groups, variables, and the YAML files that hold them."""
