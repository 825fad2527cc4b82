"""The proof that a demined rig can be reached: its shells, on programs that answer by script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.playbooks.playbook_shell import (
    PLAYBOOKS,
    evaluate_expression,
    render_template,
    tasks,
)

TASKS = tasks("tasks/demine/reachable.yml")
QUESTION = yaml.safe_load((PLAYBOOKS / "demine.yml").read_text())[0]["vars"]["network_question"]
ROUTE = "default via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.9 metric 1024"


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Run a shell of a task with `ip` and `getent` that answer as given, and given sources."""

    def run(command: str, route: str, names: str, sources: str) -> subprocess.CompletedProcess[str]:
        programs = {
            "ip": f'[ "$1" = -4 ] && echo "{route}"',
            "getent": f'case " {names} " in *" $2 "*) ;; *) exit 2 ;; esac',
            "sleep": ":",
        }
        for name, script in programs.items():
            file = tmp_path / name
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)
        apt = tmp_path / "apt"
        (apt / "sources.list.d").mkdir(parents=True, exist_ok=True)
        (apt / "sources.list").write_text(sources)
        return subprocess.run(
            ["/bin/bash", "-c", command.replace("/etc/apt", str(apt))],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


SOURCES = "deb http://deb.example/debian x main\ndeb [trusted=yes] http://hive.example:80/r /\n"


@pytest.mark.parametrize(
    ("route", "names", "sources", "lost"),
    [
        (ROUTE, "deb.example hive.example", SOURCES, ""),
        # Another metric or lease is the same route.
        ("default via 10.0.0.1 dev eth0 metric 5", "deb.example hive.example", SOURCES, ""),
        # The repository of the mining system went.
        (ROUTE, "deb.example", SOURCES.splitlines()[0], ""),
        (ROUTE, "hive.example", SOURCES, "name deb.example\n"),
        ("", "deb.example hive.example", SOURCES, "route default via 10.0.0.1 dev eth0\n"),
        (
            "default via 10.0.0.2 dev wlan0",
            "deb.example hive.example",
            SOURCES,
            "route default via 10.0.0.1 dev eth0\n",
        ),
    ],
)
def test_network_is_compared_with_the_one_before(
    shell: Any, route: str, names: str, sources: str, lost: str
) -> None:
    before = shell(QUESTION, ROUTE, "deb.example hive.example", SOURCES)
    assert before.returncode == 0
    command = render_template(
        TASKS["Whether the network is as it was"]["ansible.builtin.shell"]["cmd"],
        network_before={"stdout": before.stdout.strip()},
        network_question=QUESTION,
    )
    after = shell(command, route, names, sources)
    assert (after.stdout, after.returncode) == (lost, 1 if lost else 0)


GOOD: dict[str, Any] = {
    "new_links": [],
    "network": {"rc": 0, "stdout_lines": []},
    "ssh_server": {"rc": 0, "stderr": ""},
    "waiting_logins": {"stdout_lines": []},
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"new_links": ["/etc/x.service"]}, "these units lead nowhere: /etc/x.service"),
        ({"network": {"rc": 1, "stdout_lines": ["name a"]}}, "the network lost name a"),
        ({"ssh_server": {"rc": 255, "stderr": "line 3: bad"}}, "line 3: bad"),
        ({"waiting_logins": {"stdout_lines": ["me"]}}, "a login shell does not end"),
    ],
)
def test_each_problem_is_named(changes: dict[str, Any], problem: str | None) -> None:
    variables = TASKS["The rig can still be reached"]["vars"]
    problems = evaluate_expression(variables["problems"], **{**GOOD, **changes})
    assert len(problems) == (0 if problem is None else 1)
    assert problem is None or problem in problems[0]
