"""Quadlets: containers of Podman that systemd's generator makes services of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.facts.signs import find_started, find_suspects
from tests.unit.modules.rig import create_files

POOL = "stratum+tcp://pool.example:3333"
OF_SYSTEM = "etc/containers/systemd/web.container"
OF_USER = "home/me/.config/containers/systemd/web.container"
NEUTRAL = f"[Container]\nImage=docker.io/library/debian\nExec=/w -o {POOL}\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({OF_SYSTEM: NEUTRAL}, f"unit web.service /{OF_SYSTEM}"),
        ({OF_USER: NEUTRAL}, f"unit web.service /{OF_USER}"),
        (
            {OF_SYSTEM: "[Container]\nImage=x\nExec=/w \\\n  -o \\\n  " + POOL + "\n"},
            f"unit web.service /{OF_SYSTEM}",
        ),
        (
            {
                "etc/containers/systemd/gpu/w.container": "[Container]\nImage=x\n",
                "etc/containers/systemd/gpu/w.container.d/pool.conf": (
                    f"[Container]\nEnvironment=POOL={POOL}\n"
                ),
            },
            "unit w.service /etc/containers/systemd/gpu/w.container",
        ),
        (
            {
                "usr/share/containers/systemd/w.container": (
                    "[Container]\nImage=x\nEnvironmentFile=-/opt/w.env\n"
                ),
                "opt/w.env": f"POOL={POOL}\n",
            },
            "unit w.service /usr/share/containers/systemd/w.container",
        ),
        (
            {
                "etc/containers/systemd/pod.kube": "[Kube]\nYaml=pod.yml\n",
                "etc/containers/systemd/pod.yml": f"image: a/b\nargs: [-o, '{POOL}']\n",
            },
            "unit pod.service /etc/containers/systemd/pod.kube",
        ),
        ({OF_SYSTEM: "[Container]\nImage=ghcr.io/me/xmrig:6\n"}, f"unit web.service /{OF_SYSTEM}"),
    ],
)
def test_quadlet_of_a_miner_is_its_unit(
    tmp_path: Path, files: dict[str, Any], expected: str
) -> None:
    create_files(tmp_path, files)
    assert find_started(tmp_path) == [expected]


@pytest.mark.parametrize(
    "files",
    [
        {OF_SYSTEM: "[Container]\nImage=docker.io/library/nginx\nPublishPort=8080:80\n"},
        {OF_SYSTEM: f"# Exec=/w -o {POOL}\n[Container]\nImage=x\n"},
        # Switched off, as demine does where the file is a package's.
        {OF_SYSTEM: NEUTRAL, "etc/systemd/system/web.service": {"link": "/dev/null"}},
    ],
)
def test_other_quadlets_are_no_miners(tmp_path: Path, files: dict[str, Any]) -> None:
    create_files(tmp_path, files)
    assert find_started(tmp_path) == []
    assert find_suspects(tmp_path) == []
