"""What the operator sees of a run: lines, a live display, a log, or one JSON document."""
