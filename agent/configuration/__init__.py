"""The command line, and the configuration file with what the rig should be."""
