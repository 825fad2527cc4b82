"""Tests of the agent's status page, in a real browser."""
