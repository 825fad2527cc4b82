"""Checks that end in other ways than by a row, run by pytest itself."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.rig import conftest
from tests.rig.recorder import BEYOND, Recorder

#: The suite's own fixture, without a rig.
BEFORE = """
import pytest
from tests.rig.proof import Proof, Row, row
from tests.rig.recorder import PROOF
from tests.rig.subject import Silent

@pytest.fixture
def prove(request):
    proof = request.node.stash[PROOF] = Proof()
    return proof
"""


def run_checks(folder: Path, checks: str) -> dict[str, Any]:
    """Run these checks; return the document."""
    file = folder / "test_some.py"
    file.write_text(BEFORE + checks)
    sys.modules.pop("test_some", None)  # another test's
    recorder = Recorder("rig", "quick", None)
    words = ["--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:terminal"]
    pytest.main([str(file), f"--rootdir={folder}", "-c", "/dev/null", *words], plugins=[recorder])
    return recorder.finish()


def test_interrupted_run_is_incomplete(tmp_path: Path) -> None:
    document = run_checks(
        tmp_path,
        """
def test_first(prove): prove([Row("rig", "1", "1")])
def test_second(prove): raise KeyboardInterrupt
def test_third(prove): prove([Row("rig", "1", "1")])
""",
    )
    assert [check["check"] for check in document["checks"]] == ["some::first"]
    assert document["incomplete"] == "broken off after 1 of 3 checks"


def test_run_stopped_for_a_job_is_incomplete() -> None:
    recorder = Recorder("rig", "quick", None)
    recorder.finish_load({"parts": []}, yielded=False)
    assert "incomplete" not in recorder.finish()
    recorder.finish_load(None, yielded=True)
    assert recorder.finish()["incomplete"] == "gave way to a job on the GPUs"


def test_complete_run_is_not_marked_incomplete(tmp_path: Path) -> None:
    document = run_checks(tmp_path, 'def test_first(prove): prove([Row("rig", "1", "1")])\n')
    assert "incomplete" not in document


@pytest.mark.parametrize(
    ("options", "document", "files", "whole"),
    [
        ({}, {}, "test_*.py", True),
        ({"keyword": "gpus"}, {}, "test_*.py", False),
        ({}, {}, "test_gpus.py", False),
        ({}, {"incomplete": "broken off after 1 of 3 checks"}, "test_*.py", False),
    ],
)
def test_only_a_complete_run_is_the_last_validation(
    options: dict[str, str], document: dict[str, Any], files: str, whole: bool
) -> None:
    items = [SimpleNamespace(path=file) for file in Path(conftest.__file__).parent.glob(files)]
    session: Any = SimpleNamespace(
        items=items, config=SimpleNamespace(getoption=lambda name: options.get(name, ""))
    )
    assert conftest.is_whole(session, document) is whole


def test_check_without_readings_is_unknown_with_a_reason(tmp_path: Path) -> None:
    document = run_checks(
        tmp_path,
        """
@pytest.fixture(scope="module")
def silent(): raise Silent("nvidia-smi has failed")

def test_no_rows(prove): prove([])
def test_no_proof(): pass
def test_silent(prove): raise Silent("ss printed nothing")
def test_fixture(silent, prove): prove([])
def test_fixture_again(silent, prove): prove([])
def test_after_a_warning(prove):
    prove([row("rig", 1, 2, False, otherwise="warning")])
    raise Silent("ss printed nothing")
def test_proved(prove): prove([Row("rig", "1", "1")])
""",
    )
    checks = {check["check"]: (check["status"], check["message"]) for check in document["checks"]}
    assert checks == {
        "some::no_rows": ("unknown", "nothing was read"),
        "some::no_proof": ("unknown", "nothing was read"),
        "some::silent": ("unknown", "ss printed nothing"),
        "some::fixture": ("unknown", "nvidia-smi has failed"),
        "some::fixture_again": ("unknown", "nvidia-smi has failed"),
        "some::after_a_warning": ("warning", "ss printed nothing"),
        "some::proved": ("ok", ""),
    }


def test_lost_rig_is_reported_once(tmp_path: Path) -> None:
    document = run_checks(
        tmp_path,
        """
from provision.errors import HungError, LostError

@pytest.fixture(scope="module")
def load(): raise AssertionError("never asked for")

def test_before(prove): prove([Row("rig", "1", "1")])
def test_hang(prove): raise HungError("a command printed nothing for 120 s")
def test_here(prove): raise LostError("lost the rig in the middle: no answer", advice="Look.")
def test_after(prove): prove([Row("rig", "1", "1")])
def test_under_load(load, prove): prove([Row("rig", "1", "1")])
""",
    )
    checks = {check["check"]: (check["status"], check["message"]) for check in document["checks"]}
    assert checks == {
        "some::before": ("ok", ""),
        "some::hang": ("critical", "a command printed nothing for 120 s"),
        "some::here": ("unknown", "lost the rig in the middle: no answer. Look."),
        "some::after": ("unknown", BEYOND),
        "some::under_load": ("unknown", BEYOND),
    }
    assert document["incomplete"] == "the rig was lost after 2 of 5 checks"
