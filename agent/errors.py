"""Errors before the agent runs. __main__ prints them in one line and exits with status 2."""

from __future__ import annotations


class ConfigurationError(Exception):
    """A flag or a file is invalid; the text has the error, its place, and what to write."""
