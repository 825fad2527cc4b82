"""A rig on your own machine: a container with simulated GPUs, PCIe tree and vendor repository."""
