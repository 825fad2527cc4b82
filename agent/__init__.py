"""The rig's side, resident: readings, verdicts, metrics."""
