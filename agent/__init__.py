"""The resident agent of a rig: readings, verdicts, metrics, benchmarks."""

VERSION = "0.1.0"
