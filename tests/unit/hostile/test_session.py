"""A violation of the protocol is an error of that rig: soon, with little memory."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from provision.boundary.messages import make_unit
from provision.errors import DeeprigError, LostError, UnreachableError
from provision.remote.frames import GREETING
from provision.ssh import worker_session as sessions
from provision.ssh.worker_session import WorkerSession
from tests.unit.hostile.fake_rig import HELLO, FakeConnection, connect, frame, news
from tests.unit.local import play

UNITS = [make_unit(1, "command"), make_unit(2, "command")]
OK = {"changed": False}
FAILED = {"failed": True, "changed": False, "msg": "no"}


def run(connection: FakeConnection) -> list[Any]:
    """Send two units to the fake rig; all results."""
    session = WorkerSession(connection, None)
    try:
        return [r for news in session.run(UNITS, lambda _: None) for r in news.results]
    finally:
        session.close()


def test_valid_answer_is_accepted() -> None:
    assert len(run(connect(news((1, OK), done=False), news((2, OK))))) == 2
    assert len(run(connect(news((1, FAILED))))) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(news(), id="done without results"),
        pytest.param(news((1, OK)), id="done with one result missing"),
        pytest.param(news((2, OK), (1, OK)), id="another order"),
        pytest.param(news((1, OK), (1, OK)), id="one twice"),
        pytest.param(news((1, OK), (2, OK), (3, OK)), id="one too many"),
        pytest.param(news((7, OK)), id="an unrequested task"),
        pytest.param(news((1, OK), (2, OK), batch=2), id="another batch"),
        pytest.param(news((1, []), (2, OK)), id="a list as a result"),
        pytest.param(news((1, None), (2, OK)), id="nothing as a result"),
        pytest.param(news((1, {"failed": "no"}), (2, OK)), id="a text as failed"),
        pytest.param(news((1, {"changed": 2}), (2, OK)), id="a number as changed"),
        pytest.param(news((1, {"warnings": 5}), (2, OK)), id="a number as warnings"),
        pytest.param(news((1, {"ansible_facts": [1]}), (2, OK)), id="a list as facts"),
        pytest.param(news((1, {"boot_id": "{{ x }}"}), (2, OK)), id="a template as boot_id"),
        pytest.param(news((1, {"x": float("nan")}), (2, OK)), id="nan"),
        pytest.param(news((1, {"x": float("inf")}), (2, OK)), id="infinity"),
        pytest.param(news(current={"id": [9, 0], "elapsed": 1.0, "line": ""}), id="another task"),
        pytest.param(news(current={"id": "x", "elapsed": "x", "line": 3}), id="wrong types"),
        pytest.param(frame([]), id="a list"),
        pytest.param(frame(None), id="null"),
        pytest.param(frame({"batch": 1}), id="keys missing"),
        pytest.param(
            frame({"batch": 1, "results": {}, "current": None, "done": True}), id="a mapping"
        ),
        pytest.param(struct.pack(">I", 5) + b"hello", id="not compressed"),
        pytest.param(struct.pack(">I", 1 << 31), id="an endless frame"),
        pytest.param(b"\0\0", id="cut off"),
    ],
)
def test_answer_outside_the_protocol_is_an_error(answer: bytes) -> None:
    with pytest.raises(LostError):
        run(connect(answer))


@pytest.mark.parametrize(
    "hello",
    [
        {},
        {"hello": None},
        {"hello": {**HELLO["hello"], "boot_id": "{{ 7 * 7 }}"}},
        {"hello": {**HELLO["hello"], "busy": ["x"]}},
        {"waiting": {"holder": 5, "seconds": "x"}},
    ],
)
def test_malformed_greeting_is_an_error(hello: Any) -> None:
    with pytest.raises(LostError):
        run(connect(hello=hello))


@pytest.mark.slow
def test_decompression_bomb_uses_little_memory() -> None:
    """Less than a megabyte of data became two gigabytes in memory."""
    import tracemalloc

    packer = zlib.compressobj(9)
    zeros = b" " * (1 << 20)
    body = b"".join(packer.compress(zeros) for _ in range(600)) + packer.flush()
    assert len(body) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(LostError, match="unpack to more than"):
            run(connect(struct.pack(">I", len(body)) + body))
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


def test_flood_before_the_greeting_is_cut_off() -> None:
    connection = FakeConnection(itertools.repeat(b"x" * 65536))
    with pytest.raises(UnreachableError, match="the login shell wrote"):
        run(connection)
    assert connection.channel.received < 2 * sessions.MOST_BEFORE_GREETING
    assert connection.channel.closed


def test_slow_endless_greeting_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("provision.ssh.worker_session.time.monotonic", lambda: float(next(clock)))
    connection = FakeConnection(itertools.repeat(b"."))
    with pytest.raises(UnreachableError, match="the login shell wrote"):
        run(connection)
    assert connection.channel.received <= sessions.GREETING_SECONDS + 1


def test_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_OF_A_SESSION", 1 << 20)
    endless = itertools.repeat(news(done=False))
    with pytest.raises(LostError, match="it sent more than"):
        run(connect(*itertools.islice(endless, 20_000)))


@pytest.mark.parametrize(
    ("answer", "limit", "words"),
    [
        (news(done=False), "LONGEST_BATCH", "a batch of tasks did not end"),
        (frame({"waiting": {"holder": "x", "seconds": 1.0}}), "LONGEST_WAIT", "another run did"),
    ],
)
def test_endless_signs_of_life_time_out(
    answer: bytes, limit: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rig that always reports something would never finish."""
    monkeypatch.setattr(sessions, limit, 1000.0)
    clock = itertools.count(step=10)
    monkeypatch.setattr("provision.ssh.worker_session.time.monotonic", lambda: float(next(clock)))
    first = [] if limit == "LONGEST_WAIT" else [frame(HELLO)]
    connection = FakeConnection(
        itertools.chain([GREETING, *first], itertools.repeat(answer, 10_000))
    )
    with pytest.raises(LostError, match=words):
        run(connection)
    assert connection.channel.closed


def test_play_without_results_is_a_failure(tmp_path: Path) -> None:
    played = play(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.command: 'true'}]\n",
        tmp_path,
        connect=lambda: connect(news()),
    )
    assert played.recap.exit_status == 4
    assert "without 1 of 1 results" in played.text


def test_failure_messages_have_no_control_characters(tmp_path: Path) -> None:
    evil = {"failed": True, "msg": "\x1b]0;x\x07no\x1b[2J\u202e", "stderr": "\x9b2Jtext\r"}
    played = play(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.command: 'true'}]\n",
        tmp_path,
        connect=lambda: connect(news((1, evil))),
    )
    assert played.counts["failed"] == 1
    for text in (played.text, played.log):
        assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(text)
    assert "\\u001b" not in played.log


def test_facts_cannot_override_variables_of_the_operator(tmp_path: Path) -> None:
    """Facts override the inventory: a rig could select the file that is copied to it."""
    facts = {
        "ansible_host": "192.0.2.66",
        "ansible_become_password": "theirs",
        "ansible_check_mode": True,
        "secret_path": "/etc/shadow",
        "ansible_kernel": "6.1",
    }
    played = play(
        """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.setup:
    - ansible.builtin.debug:
        msg: >-
          {{ secret_path }} {{ ansible_host }} {{ ansible_become_password | default('ours') }}
          {{ ansible_kernel }} {{ ansible_check_mode }}
""",
        tmp_path,
        variables={"secret_path": "mine", "ansible_host": "192.0.2.1"},
        connect=lambda: connect(news((1, {"changed": False, "ansible_facts": facts}))),
    )
    assert "mine 192.0.2.1 ours 6.1 False" in played.text


def test_errors_are_reported_as_json(tmp_path: Path) -> None:
    played = play(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.command: 'true'}]\n",
        tmp_path,
        as_json=True,
        connect=lambda: connect(frame([])),
    )
    assert json.loads(played.text)["hosts"]["here"]["error"]
    assert issubclass(LostError, DeeprigError)
