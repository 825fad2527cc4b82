"""Which units `fab restore` expects to run again: its shell function, with a table of units."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "playbooks/files/restore/restore.sh"
#: is-active fails, and `show` prints what the unit has.
SYSTEMCTL = """#!/bin/sh
case "$*" in
*is-active*) [ "$3" = active.service ] ;;
*) for word; do unit=$word; done; cat "{folder}/$unit" ;;
esac
"""
ROWS = "LoadState={0}\nConditionResult={1}\nConditionTimestampMonotonic={2}\n"


@pytest.mark.parametrize(
    ("shown", "is_missing"),
    [
        (("loaded", "yes", 639), True),
        (("loaded", "no", 0), True),  # nothing has tried to start it yet
        (("loaded", "no", 639), False),  # ldconfig.service: the system was not updated
        (("not-found", "no", 0), False),
        (("masked", "yes", 0), False),
    ],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_unit_that_does_not_run_is_missing_unless_systemd_passed_over_it(
    tmp_path: Path, shown: tuple[str, str, int], is_missing: bool, is_reversed: bool
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL.format(folder=tmp_path))
    program.chmod(0o755)
    rows = ROWS.format(*shown).splitlines(keepends=True)
    (tmp_path / "x.service").write_text("".join(reversed(rows) if is_reversed else rows))
    (tmp_path / "running.txt").write_text("active.service\nx.service\n")
    text = PROGRAM.read_text()
    function = text[text.index("stopped_units()") :].partition("\n}\n")[0] + "\n}\n"
    done = subprocess.run(
        ["sh", "-c", f"{function}work={tmp_path}; stopped_units"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == (["x.service"] if is_missing else [])
