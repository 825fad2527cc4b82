"""`fab bench`."""
