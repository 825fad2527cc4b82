"""What the operator can say: one short task per verb; what it does is in provision/ and lab/."""

from __future__ import annotations

from invoke.collection import Collection

import lab.tasks
from provision.executor import FleetContext
from provision.flags import Flags, fleet_task


@fleet_task()
def provision(context: FleetContext, flags: Flags) -> None:
    """Turn a mining rig into a deep learning host (plays playbooks/provision.yml)."""
    from provision import verbs

    verbs.provision(context, flags)


@fleet_task(file="the playbook")
def play(context: FleetContext, flags: Flags, file: str) -> None:
    """Play any playbook of ansible.builtin modules."""
    from provision import verbs

    verbs.play(context, flags, file)


@fleet_task()
def facts(context: FleetContext, flags: Flags) -> None:
    """Show what a rig is: board, GPUs and their PCIe paths, mining OS, driver."""
    from provision import verbs

    verbs.facts(context, flags)


namespace = Collection(provision, play, facts)
namespace.add_collection(Collection.from_module(lab.tasks), name="lab")
