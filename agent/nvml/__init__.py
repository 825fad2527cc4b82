"""Asks NVML: a process apart (child.py, gpu.py), and the agent's side of it (process.py)."""
