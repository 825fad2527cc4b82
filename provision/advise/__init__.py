"""What fits on a rig's GPUs, how fast it runs over their links, and what to change.

From the edge inwards: `verb` reads a rig (or words of the command line) into a `machine.Machine`,
`report` asks every `candidates.Candidate` of a model what it predicts, `show`, `plot` and `explain`
print it. Everything between is pure: `memory` (bytes), `traffic` (messages), `links` (seconds a
message), `compute` (seconds of arithmetic), `step` (both on one time line), `recommend`.
"""
