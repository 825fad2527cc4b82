"""What `fab provision --check` prints last: what would be downloaded, and how long it takes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.playbooks.playbook_shell import render_template, tasks
from tests.unit.playbooks.test_package_choice import DEBIAN12, offers
from tests.unit.playbooks.test_rig_variables import AMPERE, PASCAL, value

DRIVER = {"driver": {"package_versions": {"nvidia-open-580": "580.126.20-1"}}}
SOFTWARE = {
    "torch": "2.13.0",
    "nccl": "2.30.7-1+cuda13.2",
    "cuda_packages": {"cuda-minimal-build-13-0": "13.0.2-1"},
}
NCCL = ["libnccl2=2.30.7-1+cuda13.2", "libnccl-dev=2.30.7-1+cuda13.2"]
ANSWER = ["total 1200", "part cuda-minimal-build-13-0 90", "part cuda-toolkit-13-0 3400", "rate 80"]


def read(name: str, gpu: str = AMPERE, answer: list[str] | None = None, **changes: Any) -> Any:
    """The value of a variable for a rig and what its repositories answered."""
    return value(name, gpu, **offers(DEBIAN12), sizes={"stdout_lines": answer or []}, **changes)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ["nvidia-open-580=580.126.20-1", "cuda-minimal-build-13-0", *NCCL]),
        (DRIVER, ["cuda-minimal-build-13-0", *NCCL]),
        ({**DRIVER, "software": SOFTWARE}, []),
        ({**DRIVER, "software": SOFTWARE, "cuda_toolkit_parts": "all"}, ["cuda-toolkit-13-0"]),
        ({**DRIVER, "software": {**SOFTWARE, "nccl": None}}, NCCL),
        ({**DRIVER, "software": {**SOFTWARE, "cuda_packages": {}}, "cuda_toolkit": "none"}, []),
    ],
)
def test_only_what_is_missing_is_counted(changes: dict[str, Any], wanted: list[str]) -> None:
    assert read("packages_wanted", **changes) == wanted


@pytest.mark.parametrize(
    ("installed", "setting", "wanted"),
    [
        (None, "auto", True),
        ("2.13.0", "auto", False),
        ("2.13.0+cu130", "auto", False),
        ("2.12.0", "auto", True),
        ("2.9.1", "torch==2.9.1", False),
        ("2.9.1", "torch>=2.9", False),
        (None, "torch", True),
    ],
)
def test_wheels_are_counted_where_pytorch_is_another(
    installed: str | None, setting: str, wanted: bool
) -> None:
    changes: dict[str, Any] = {
        "software": {**SOFTWARE, "torch": installed},
        "torch_requirement": setting,
    }
    assert read("torch_is_wanted", **changes) is wanted
    assert (int(read("wheels_mb", **changes)) > 0) is (wanted and setting == "auto")


@pytest.mark.parametrize("gpu", [AMPERE, PASCAL])
def test_minutes_follow_from_size_and_rate(gpu: str) -> None:
    wheels = int(read("wheels_mb", gpu, ANSWER))
    assert wheels > 2000
    assert int(read("download_mb", gpu, ANSWER)) == wheels + 1200
    assert int(read("download_minutes", gpu, ANSWER)) == -(-(wheels + 1200) * 8 // (80 * 60))
    given = read("download_minutes", gpu, ANSWER, download_mbit_per_second=10)
    assert int(given) == -(-(wheels + 1200) * 8 // (10 * 60))


def test_repositories_without_an_answer_give_no_minutes() -> None:
    assert int(read("packages_mb")) == 0
    assert int(read("download_minutes")) == 0


def test_both_parts_of_cuda_have_their_size() -> None:
    assert read("download_parts", answer=ANSWER) == [
        "cuda-minimal-build-13-0 90 MB",
        "cuda-toolkit-13-0 3400 MB",
    ]


@pytest.mark.parametrize(
    ("uris", "log", "expected"),
    [
        (
            "Reading package lists...\n'http://a/x' x 1500000 MD5:0\n'http://a/y' y 600000 MD5:1\n",
            "Get:1 http://a\nFetched 8,800 kB in 3s (2,900 kB/s)\n",
            ["total 3", "part small 3", "part large 3", "rate 23.2"],
        ),
        ("", "Fetched 1 B in 1s (1 B/s)\n", ["total 0", "part small 0", "part large 0"]),
        (
            "'http://a/x' x 1 SHA256:0\n",
            "Fetched 40.1 MB in 1s (40.1 MB/s)\n",
            ["total 1", "part small 1", "part large 1", "rate 320.8"],
        ),
        (None, "Hit:1 http://a\n", []),
    ],
)
def test_sizes_are_read_from_apt(
    tmp_path: Path, uris: str | None, log: str, expected: list[str]
) -> None:
    """The shell of the task, with an apt-get that answers as apt-get does."""
    (tmp_path / "uris").write_text(uris or "")
    (tmp_path / "update").write_text(log)
    program = tmp_path / "apt-get"
    program.write_text(
        f"#!/bin/sh\ncase $* in *update) cat {tmp_path}/update ;;"
        f" *) cat {tmp_path}/uris; exit {100 if uris is None else 0} ;; esac\n"
    )
    program.chmod(0o755)
    command = tasks("tasks/preflight/downloads.yml")["Sizes of the packages"][
        "ansible.builtin.shell"
    ]
    text = render_template(
        command["cmd"].replace(" if cuda_is_wanted | bool else ''", ""),
        repository_scratch=f"work={tmp_path}",
        packages_wanted=["driver"],
        cuda_parts=["small", "large"],
    )
    done = subprocess.run(
        ["/bin/bash", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.stdout.splitlines() == expected
