"""The acceptance suite for real rigs, in pytest-testinfra: `fab validate -H rig`, or
`pytest tests/rig --hosts=rig`, or on the rig itself `deeprig-validate`.

It changes nothing on a rig but the results that it leaves there. A file is a subject; a test is a
check, and the first line of its docstring is what the report calls it.
"""
