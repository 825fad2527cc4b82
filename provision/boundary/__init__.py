"""The boundary: what a rig sends is decoded, bounded and checked here before anything uses it.

A second-hand rig is an untrusted machine (SECURITY.md). Nothing that it sends becomes a template, a
path of this machine, a command line or a terminal sequence.
"""
