"""No process is left running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from agent.bench import processes
from agent.bench.progress import ProgressReader, ProgressWriter, progress_file
from agent.bench.rank_monitor import RankMonitor
from tests.unit.agent.web.server import wait_for

ROOT = Path(__file__).parents[3]

#: A child that ignores SIGTERM, and a grandchild whose parent has ended: both must be found.
FAMILY = """
import json, os, signal, subprocess, sys, time
from agent.bench import processes
processes.become_subreaper()
deaf = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True);"
    "time.sleep(60)"], stdout=subprocess.PIPE)
deaf.stdout.readline()
parent = subprocess.Popen([sys.executable, "-c",
    "import subprocess; print(subprocess.Popen(['sleep', '60'],"
    "stdout=subprocess.DEVNULL, start_new_session=True).pid)"], stdout=subprocess.PIPE)
orphan = int(parent.stdout.read())
parent.wait()
stopped = subprocess.Popen(["sleep", "60"])
os.kill(stopped.pid, signal.SIGSTOP)
spared = subprocess.Popen(["sleep", "60"])
below = processes.list_descendants(os.getpid())
left = processes.end_descendants({spared.pid})
states = [processes.read_state(pid) for pid in (deaf.pid, orphan, stopped.pid)]
alive = processes.read_state(spared.pid)
spared.kill()
found = {deaf.pid, orphan, stopped.pid, spared.pid} <= set(below)
print(json.dumps([found, left, states, alive]))
"""


def test_all_descendants_are_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAMILY], cwd=ROOT, capture_output=True, text=True, check=True
    )
    all_listed, left, states, alive = json.loads(done.stdout)
    assert (all_listed, left) == (True, [])
    assert states == ["gone"] * 3
    assert alive.startswith(("S", "R"))


def test_a_child_ends_with_its_parent() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, time; from agent.bench import processes;"
            "print(subprocess.Popen(['sleep', '60'], preexec_fn=processes.end_with_parent).pid,"
            "flush=True); time.sleep(60)",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert processes.read_state(child).startswith(("S", "R"))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: processes.read_state(child).startswith(("gone", "Z")), "the child ended")


def test_process_states_are_read() -> None:
    assert processes.read_state(os.getpid()) == "R (running)"
    assert processes.read_state(2**22 + 1) == "gone"
    assert processes.read_kernel_wait(2**22 + 1) == ""


def test_progress_is_read_in_complete_lines(tmp_path: Path) -> None:
    follower = ProgressReader(progress_file(tmp_path, 3))
    assert list(follower.read_messages()) == [], "the rank has not begun"
    progress = ProgressWriter(tmp_path, 3)
    progress.begin("ddp")
    assert list(follower.read_messages()) == [{"pid": os.getpid()}, {"part": "ddp"}]
    with progress_file(tmp_path, 3).open("a") as file:
        file.write('{"at": "ste')
    assert list(follower.read_messages()) == [], "half a line waits"
    with progress_file(tmp_path, 3).open("a") as file:
        file.write('p 1"}\n')
    progress.end("ddp", ["wrong"])
    assert list(follower.read_messages()) == [{"at": "step 1"}, {"end": "ddp", "wrong": ["wrong"]}]


def test_ranks_behind_the_others_are_listed(tmp_path: Path) -> None:
    """Lines of rank 0 do not count as progress."""
    tellers = [ProgressWriter(tmp_path, number) for number in range(3)]
    ranks = RankMonitor(tmp_path)
    for progress in tellers:
        progress.begin("collectives")
        progress.report_position("repeat 1")
    tellers[0].line("a row")
    assert [rank.number for rank, _ in ranks.read_messages()] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (ranks.list_behind(), ranks.first, len(ranks)) == ([], 0, 3)
    tellers[0].report_position("repeat 2")
    tellers[2].report_position("repeat 2")
    assert len(list(ranks.read_messages())) == 2
    assert ranks.list_behind() == [1]
    described = ranks.describe({1: -11}, stacks=False)
    assert (described["1"]["at"], described["1"]["exit"]) == ("repeat 1", -11)
    assert (described["2"]["at"], described["2"]["exit"]) == ("repeat 2", None)
    assert described["0"]["state"] == "R (running)"
