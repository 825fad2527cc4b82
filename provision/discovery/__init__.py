"""A first look at a rig by its shell alone: no Python there, and nothing written to it."""
