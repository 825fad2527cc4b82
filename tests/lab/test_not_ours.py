"""Rigs of other people: hosts of rental platforms, and rigs that others took over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import fab

pytestmark = pytest.mark.extended  # conversions of whole rigs

MakeRig = Callable[..., Rig]
WriteInventory = Callable[..., Path]
TREE = (
    "find /etc /usr /opt /root /var/lib /boot -xdev -type f ! -path '/var/lib/apt/*'"
    " ! -path '/var/lib/systemd/*' -printf '%p %s %T@\\n' | sort; systemctl is-active vastai"
)
RENTAL = """
mkdir -p /var/lib/vastai_kaalia/latest
printf '#!/bin/sh\\nexec sleep infinity\\n' >/var/lib/vastai_kaalia/latest/launch.sh
chmod 755 /var/lib/vastai_kaalia/latest/launch.sh
cat >/etc/systemd/system/vastai.service <<UNIT
[Service]
ExecStart=/var/lib/vastai_kaalia/latest/launch.sh
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload; systemctl enable --quiet --now vastai
"""


def test_host_of_a_rental_platform_is_refused_and_not_touched(
    make_rig: MakeRig, write_inventory: WriteInventory
) -> None:
    rig = make_rig("test72", flavour="clean")
    inventory = write_inventory(rig)
    rig.run(RENTAL)
    before = rig.run(TREE).stdout
    for words in (("provision",), ("provision", "--check"), ("play", "playbooks/demine.yml")):
        result = fab(inventory, rig.name, *words)
        assert result.status == 2, words
        result.assert_shows("a host of vast.ai", "/var/lib/vastai_kaalia", "changed=0")
    assert rig.run(TREE).stdout == before
    assessed = fab(inventory, rig.name, "assess")
    assessed.assert_shows("a host of vast.ai", "unit vastai.service")
    assert rig.run(TREE).stdout == before
    rig.discard()


def test_rig_that_others_took_over_is_converted_only_if_that_is_accepted(
    make_rig: MakeRig, write_inventory: WriteInventory
) -> None:
    rig = make_rig("test73", flavour="hijacked")
    inventory = write_inventory(rig)
    before = rig.run(TREE, check=False).stdout
    refused = fab(inventory, rig.name, "provision", "--tags", "demine")
    assert refused.status == 2
    refused.assert_shows("had root access", "--accept-taken-over", "changed=0")
    assert rig.run(TREE, check=False).stdout == before
    verdict = json.loads(fab(inventory, rig.name, "assess", "--json").stdout)[rig.name]["verdict"]
    assert verdict["system"] == "reinstall"

    accepted = ("provision", "--tags", "demine", "--accept-taken-over")
    assert fab(inventory, rig.name, *accepted).status == 0
    # The signs are gone, and the record of them stays: no flag is needed again, and all name it.
    later = fab(inventory, rig.name, "provision", "--tags", "demine")
    assert later.status == 0, later.text
    later.assert_shows("before its conversion", "reinstall it", "changed=0")
    fab(inventory, rig.name, "facts").assert_shows("once taken over")
    fab(inventory, rig.name, "assess").assert_shows("earlier takeover", "before the conversion")
    rig.discard()
