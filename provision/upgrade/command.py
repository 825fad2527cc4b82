"""`fab upgrade`: rig after rig, the first as the canary; the first that gets worse ends it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from invoke.exceptions import Exit

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.output import files
from provision.output.redaction import Redactor, secrets_of
from provision.output.terminal import Terminal
from provision.paths import LOG
from provision.upgrade import show
from provision.upgrade.one_rig import RigUpgrade
from provision.upgrade.outcome import UpgradeOutcome
from provision.upgrade.plan import UpgradeRequest


def upgrade(
    context: FleetContext, flags: Flags, request: UpgradeRequest, quick: bool, report: str
) -> None:
    """Upgrade all rigs that -H names, one after another. Raises Exit, SourceError."""
    inventory, hosts = context.fleet(flags)
    settings = request.settings()  # what is wrong as written is refused before any rig is asked
    folder = (
        Path(report).absolute() if report else LOG / f"upgrade-{time.strftime('%Y%m%d-%H%M%S')}"
    )
    console = Terminal(error=flags.json)
    outcomes: list[UpgradeOutcome] = []
    for host in hosts:
        redactor = Redactor(secrets_of(host.variables))

        def announce(text: str, name: str = host.name, redactor: Redactor = redactor) -> None:
            console.print(f"{name}: {redactor.text(text)}", soft_wrap=True)

        rig = RigUpgrade(context, flags, host, inventory, settings, folder, quick, announce)
        outcome = rig.run()
        document = redactor.value(outcome.document())
        if not flags.check:
            place = files.make_private(folder / host.name)
            files.write(place / "upgrade.json", json.dumps(document, indent=1) + "\n", 0o600)
        outcomes.append(outcome)
        if outcome.ending.exit_status:
            break
    left = [host.name for host in hosts[len(outcomes) :]]
    if flags.json:
        print(json.dumps({"rigs": [outcome.document() for outcome in outcomes], "left": left}))
    show.show_outcomes(outcomes, left, folder, console)
    status = max(outcome.ending.exit_status for outcome in outcomes)
    if status:
        raise Exit(code=status)
