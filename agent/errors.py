"""What goes wrong before the agent runs: one class, caught in __main__, one line and status 2."""

from __future__ import annotations


class ConfigurationError(Exception):
    """A flag or a file that can't be used; the text says what, where, and what would do."""
