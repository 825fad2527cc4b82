"""The `fab` command of deeprig's virtual environment (`make setup` installs this file as it).

It is Fabric's own, but for `fab -H HOST -- command`: Fabric runs that without the project's
settings, takes unknown and changed host keys, and shows whatever the host sends.
"""

from __future__ import annotations

import sys
from typing import Any

from fabric.main import Fab, make_program
from invoke.exceptions import Exit
from invoke.program import Program

#: Flags with new names; the old ones work for one more release.
RENAMED = {"--yes-really": "--accept-workstation"}
EXECUTOR = "provision.cli.executor.InventoryExecutor"  # fabric.yaml's


class DeeprigProgram(Fab):  # type: ignore[misc]
    """Fabric's program; a command without a task is deeprig's own as well."""

    def load_collection(self) -> None:
        """Load the project's tasks and settings, also where only a command is given."""
        if not self._remainder_only:
            super().load_collection()
            return
        try:
            Program.load_collection(self)
        except Exit:
            _refuse()
        if self.config.tasks.executor_class != EXECUTOR:
            _refuse()


def _refuse() -> None:
    print(
        "error: Run fab in deeprig's folder: elsewhere Fabric would not check host keys.",
        file=sys.stderr,
    )
    sys.exit(2)


def main() -> Any:
    """Run the command line."""
    words = [RENAMED.get(word, word) for word in sys.argv]
    program = make_program()
    return DeeprigProgram(
        name=program.name,
        version=program.version,
        executor_class=program.executor_class,
        config_class=program.config_class,
    ).run(words)


if __name__ == "__main__":
    main()
