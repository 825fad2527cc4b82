"""What the guard on a rig answers, and what a rig may send instead."""

from __future__ import annotations

import pytest

from provision.upgrade.guard import GuardStatus


@pytest.mark.parametrize(
    ("text", "is_undecided", "is_done"),
    [
        ("", False, False),
        ("state=armed\nrunning=b1\n", True, False),
        ("state=going-back\nrunning=b2\nreason=late\n", True, False),
        ("state=back\nrunning=b2\nboot=b2\nreboots=yes\n", False, False),
        ("state=back\nrunning=b3\nboot=b2\nreboots=yes\n", False, True),
        ("state=back\nrunning=b2\nboot=b2\nreboots=no\n", False, True),
        ("state=stuck\nrunning=b2\nboot=b2\nreboots=no\nleft=libcuda1 is not 580\n", False, True),
        ("state=confirmed\nrunning=b2\n", False, False),
        ("Welcome\nstate=armed\nPATH=/x\nparse=y\n", True, False),
    ],
)
def test_answer_is_understood(text: str, is_undecided: bool, is_done: bool) -> None:
    status = GuardStatus.parse(text)
    assert (status.is_undecided, status.is_done) == (is_undecided, is_done)


def test_reason_is_one_clean_line() -> None:
    status = GuardStatus.parse("state=back\nreason=a\x1b[31mb = c\n")
    assert "\x1b" not in status.reason
    assert status.reason.endswith("b = c")


def test_guard_that_went_back_before_it_was_asked_names_its_reason_first() -> None:
    status = GuardStatus("back", reason="not confirmed in time", left="held: x")
    assert status.list_reasons("validation found what is worse") == (
        "not confirmed in time",
        "validation found what is worse",
        "held: x",
    )
    asked = GuardStatus("back", reason="validation found what is worse")
    assert asked.list_reasons("validation found what is worse\nmore") == (
        "validation found what is worse\nmore",
    )


@pytest.mark.parametrize(
    ("earlier", "now", "has_acted"),
    [
        (GuardStatus(), GuardStatus(running="b1"), False),
        (GuardStatus(), GuardStatus("armed"), True),
        (GuardStatus(), GuardStatus("back", reason="late", boot="b2"), True),
        (GuardStatus("back", boot="b1"), GuardStatus("back", boot="b1", running="b4"), False),
        (GuardStatus("back", boot="b1"), GuardStatus("back", boot="b3"), True),
    ],
)
def test_guard_of_an_earlier_upgrade_is_not_taken_for_this_ones(
    earlier: GuardStatus, now: GuardStatus, has_acted: bool
) -> None:
    assert now.has_acted_since(earlier) is has_acted
