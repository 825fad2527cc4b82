"""Benchmarks of a rig's GPUs and links: collectives and parallel workloads, with checked results.

`python -m agent.bench` is the launcher: the standard library only. It starts torchrun, whose ranks
run `agent.bench.rank`; PyTorch is imported there and nowhere else. docs/bench.md describes both.
"""
