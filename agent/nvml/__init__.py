"""Asks NVML in a separate process (child.py, gpu.py), which process.py starts and watches."""
