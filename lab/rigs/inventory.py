"""The inventory of the lab's rigs: the only place from which the product knows them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from lab.build import wheels
from lab.rigs.machine import Rig

FILE = Path(__file__).parents[2] / "inventory/lab.yml"


def describe(rigs: Iterable[Rig], known_hosts: Path) -> dict[str, Any]:
    """Return the inventory in Ansible's form.

    Each host has its own variables, because those of a group lose against group_vars/all.yml.
    """
    return {
        "rigs": {
            "hosts": {
                rig.name: {
                    "ansible_host": rig.address,
                    **({} if rig.port == 22 else {"ansible_port": rig.port}),
                    "ansible_user": rig.flavour.user,
                    "ansible_password": rig.flavour.password,
                    "ansible_become_password": rig.flavour.password,
                    "ansible_ssh_known_hosts_file": str(known_hosts),
                    # The same file, as OpenSSH (and so Ansible) expects it.
                    "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts}",
                    "nvidia_repository_url": f"{rig.vendor_url}/cuda/",
                    "nvidia_repository_key_url": f"{rig.vendor_url}/cuda/key.asc",
                    "nvidia_repository_key_fingerprint": read_fingerprint(rig),
                    "torch_requirement": wheels.TORCH,
                    "torch_index_url": wheels.index_url(),
                    "torch_build": "cpu",
                    "swap_size_mib": 256,
                    # A real rig is an hour older by then; its crontab had its turn.
                    "mining_wait_most_seconds": 20,
                    "agent_listen_addresses": [f"{rig.address}:10390"],
                }
                for rig in rigs
            }
        }
    }


def read_fingerprint(rig: Rig) -> str:
    """Return the fingerprint of the key of a rig's repository: each image has another one."""
    return Path(rig.settings()["repository"], "fingerprint").read_text().strip()


def write(rigs: Iterable[Rig], known_hosts: Path, file: Path = FILE) -> None:
    """Write the inventory; it holds passwords, so only its owner may read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(describe(rigs, known_hosts), sort_keys=False)
    draft = file.with_name(f".{file.name}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        stream.write(f"# The rigs of the lab, written by `fab lab.up`.\n{text}")
    owner = file.parent.stat()
    os.chown(draft, owner.st_uid, owner.st_gid)  # the lab ran as root; its user reads this
    draft.replace(file)
