"""Hosts of rental platforms are recognised, and machines that only have similar names are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provision.remote.facts.rental import rental
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import create_files


def container(image: str) -> dict[str, Any]:
    document = {"ID": "5f", "Name": "/x", "Config": {"Image": image}}
    return {"var/lib/docker/containers/5f/config.v2.json": json.dumps(document)}


@pytest.mark.parametrize(
    ("files", "key", "evidence"),
    [
        ({"var/lib/vastai_kaalia/": None}, "vastai", "/var/lib/vastai_kaalia"),
        ({"etc/systemd/system/vastai.service": "[Service]\n"}, "vastai", "unit vastai.service"),
        (
            {"etc/systemd/system/vastai_bouncer.service": ""},
            "vastai",
            "unit vastai_bouncer.service",
        ),
        ({"proc/9/comm": "kaalia\n", "proc/9/cmdline": "/x/kaalia\0"}, "vastai", "process kaalia"),
        ({"etc/passwd": "vastai_kaalia:x:999:999::/v:/bin/sh\n"}, "vastai", "user vastai_kaalia"),
        ({"opt/clore-hosting/clore.sh": "x"}, "clore", "/opt/clore-hosting"),
        ({"etc/systemd/system/clore-hosting.service": ""}, "clore", "unit clore-hosting.service"),
        ({"etc/systemd/system/osn.service": ""}, "octaspace", "unit osn.service"),
        (container("ionetcontainers/io-worker-vc:v1"), "ionet", "container of ionetcontainers"),
        (container("daturaai/compute-subnet-executor"), "lium", "container of daturaai"),
        ({"proc/9/comm": "golemsp\n"}, "golem", "process golemsp"),
        ({"proc/9/comm": "provider-service\n"}, None, ""),
        ({"etc/systemd/system/quickpod-agent.service": ""}, "quickpod", "unit quickpod-agent"),
        ({"etc/systemd/system/runpod.service": ""}, "runpod", "unit runpod.service"),
        # Tools of tenants, and other people's words.
        ({"etc/systemd/system/runpod-tunnel.service": ""}, None, ""),
        ({"home/user/vastai/notes.txt": "x", "proc/9/comm": "vastai-notes\n"}, None, ""),
        ({"etc/systemd/system/osneakers.service": ""}, None, ""),
        ({"etc/systemd/system/vastai.service": {"link": "/dev/null"}}, None, ""),
        (container("nvidia/cuda:12.4"), None, ""),
        (container("minio/minio"), None, ""),
    ],
)
def test_platform_is_named_with_its_evidence(
    tmp_path: Path, files: dict[str, Any], key: str | None, evidence: str
) -> None:
    create_files(tmp_path, files)
    result = rental(Tree(str(tmp_path)))
    assert [platform["key"] for platform in result] == ([key] if key else [])
    assert all(evidence in platform["evidence"][0] for platform in result)
