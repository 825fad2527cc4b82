"""The lab's exception: what happened, and what to do about it."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was requested.

    >>> print(LabError("No rig is called rig9.", "`fab lab.status` lists the rigs."))
    No rig is called rig9. `fab lab.status` lists the rigs.
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(f"{problem} {advice}".strip())
        self.problem = problem
        self.advice = advice
