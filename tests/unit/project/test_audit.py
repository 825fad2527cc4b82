"""`make audit`: a missing source of advisories is reported, never taken for a pass."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.audit import LOCKS, main
from tests.unit.project import test_locks

#: pip-audit, with answers that a test chooses: by the name of the package in the file.
PROGRAM = """
import json, sys
from pathlib import Path
known = json.loads(Path(sys.argv[1]).read_text())
line = Path(sys.argv[-1]).read_text().split()[0]
name, _, version = line.partition("==")
if name not in known:
    sys.exit(f"ERROR: {name} was not found")
vulns = [{"id": one, "fix_versions": ["9"]} for one in known[name]]
print(json.dumps({"dependencies": [{"name": name, "version": version, "vulns": vulns}]}))
"""


@pytest.mark.parametrize(
    ("vulnerabilities", "status", "text"),
    [
        ("{}", 0, "NOT CHECKED: no source of advisories is reachable here (ERROR: jinja2"),
        ('{"jinja2": []}', 0, "the source knows no vulnerability of jinja2==2.10"),
        ('{"jinja2": ["CVE-1"], "one": []}', 0, "lock: no known vulnerability"),
        ('{"jinja2": ["CVE-1"], "one": ["CVE-2"]}', 1, "lock: one 1.0: CVE-2, fixed by 9"),
        ('{"jinja2": ["CVE-1"]}', 1, "lock: ERROR: one was not found"),
    ],
)
def test_audit_reports_vulnerabilities_and_missing_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vulnerabilities: str, status: int, text: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "known.json").write_text(vulnerabilities)
    (tmp_path / "lock").write_text("one==1.0\n")
    program = (sys.executable, str(tmp_path / "program.py"), str(tmp_path / "known.json"))
    assert main([tmp_path / "lock"], program) == status
    assert text in capsys.readouterr().out


def test_every_lock_is_audited() -> None:
    assert set(LOCKS) == set(test_locks.LOCKS)
