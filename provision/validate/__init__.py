"""`fab validate`: the acceptance suite (tests/rig) over many rigs at once, and its reports."""
