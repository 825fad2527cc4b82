"""Parallel workloads: one form of parallelism a file, over one model and one way to run a step.

Each file's `run(world, options)` is a part of a job. Options: shape (shape.py), steps, warm_up,
dtype, compute ("real", or the seconds that each layer sleeps: asleep.py), bucket_mb (ddp), small
(training.py).
"""
