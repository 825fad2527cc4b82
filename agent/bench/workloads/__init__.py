"""Parallel workloads: one file for each form of parallelism, all with the same model and steps.

Each file's `run(comm, options)` is a part of a job. Options: shape (shape.py), steps, warm_up,
dtype, compute ("real", or the seconds that each layer sleeps: sleeping_layers.py), bucket_mb (ddp),
small (training.py).
"""
