"""Runs on the rig: standard library only, Python 3.8 or newer; imports nothing from provision."""
