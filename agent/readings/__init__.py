"""Each module reads one thing and returns plain dataclasses."""
