"""A rig on your own machine: systemd-nspawn, with simulated GPUs, PCIe tree and packages."""
