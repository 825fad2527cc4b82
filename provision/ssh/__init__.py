"""Connections to rigs: host keys, the worker session, shells."""
