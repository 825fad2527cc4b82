"""Measure what the project promises: times and memory."""
