"""What a container does not have: GPUs, the PCIe tree, firmware, and their faults."""
