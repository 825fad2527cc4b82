"""The command line: flags, -H, fan-out over hosts, exit statuses."""
