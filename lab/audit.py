"""`make audit`: the locked packages against published advisories, with pip-audit.

A source of advisories that cannot be reached looks like packages without vulnerabilities. So a
release with known ones is asked for first: without an answer for it, nothing was checked, and that
is printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
VULNERABLE = "jinja2==2.10"  # CVE-2019-10906, among others
LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-torch.lock",
    "agent/requirements.txt",
    "tests/rig/requirements.txt",
    "playbooks/files/torch-tools.txt",
    "playbooks/files/torch-cuda13.txt",
    "playbooks/files/uv.txt",
)
PROGRAM = (sys.executable, "-m", "pip_audit")


def audit(file: Path, *flags: str, program: Sequence[str] = PROGRAM) -> tuple[Any, str]:
    """Return pip-audit's document about a file (None without one) and its last line of errors."""
    command = [
        *program,
        "--strict",
        "--disable-pip",
        "--progress-spinner=off",
        "--format=json",
        *flags,
        "-r",
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    errors = done.stderr.strip().splitlines()
    try:
        return json.loads(done.stdout), errors[-1] if errors else ""
    except ValueError:
        return None, errors[-1] if errors else f"exit status {done.returncode}"


def list_vulnerabilities(document: Any) -> Iterator[str]:
    """Yield a line for each vulnerability in a document of pip-audit."""
    for package in document["dependencies"]:
        for vulnerability in package.get("vulns", []):
            fixed = ", ".join(vulnerability["fix_versions"]) or "no release"
            yield f"{package['name']} {package['version']}: {vulnerability['id']}, fixed by {fixed}"


def explain_unreachable(program: Sequence[str] = PROGRAM) -> str | None:
    """Return why no advisory can be fetched here; None if one can."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "vulnerable.txt")
        file.write_text(f"{VULNERABLE}\n")
        document, error = audit(file, "--no-deps", program=program)
    if document is not None and any(list_vulnerabilities(document)):
        return None
    return error or f"the source knows no vulnerability of {VULNERABLE}"


def main(files: Sequence[Path], program: Sequence[str] = PROGRAM) -> int:
    """Print what is vulnerable; the exit status is 1 for that and for files that fail."""
    reason = explain_unreachable(program)
    if reason is not None:
        print(f"NOT CHECKED: no source of advisories is reachable here ({reason}).")
        print("Vulnerabilities of the locked packages are unknown. Run `make audit` elsewhere.")
        return 0
    status = 0
    for file in files:
        document, error = audit(file, "--require-hashes", program=program)
        lines = [error] if document is None else list(list_vulnerabilities(document))
        print(f"{file.name}: {'; '.join(lines) or 'no known vulnerability'}")
        status = status or int(bool(lines))
    return status


if __name__ == "__main__":
    sys.exit(main([ROOT / name for name in LOCKS]))
