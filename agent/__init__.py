"""The rig's side, resident: readings, verdicts, metrics."""

VERSION = "0.1.0"
