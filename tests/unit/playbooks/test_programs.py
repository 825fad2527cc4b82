"""Programs that root runs do not depend on the caller's environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.playbooks.playbook_shell import PLAYBOOKS, render_template

TEMPLATES = PLAYBOOKS / "templates"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What the caller's folder has under these names is run by nothing.
BAIT = ("env", "id", "python", "python3", "flock", "systemd-run", "nvidia-smi", "cd")


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """An environment in which the first program found in each search path leaves a mark."""
    folder = tmp_path / "bait"
    folder.mkdir()
    mark = tmp_path / "mark"
    for name in BAIT:
        (folder / name).write_text(f"#!/bin/sh\necho {name} >>{mark}\nexit 0\n")
        (folder / name).chmod(0o755)
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "evil.py"):
        (folder / name).write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "PYTHONHOME": str(folder),
        "PYTHONSTARTUP": str(folder / "evil.py"),
        "PYTHONUSERBASE": str(folder),
        "PYTEST_ADDOPTS": "-p evil",
        "PYTEST_PLUGINS": "evil",
        "ENV": str(folder / "evil.py"),
        "HOME": str(folder),
    }


def run(
    tmp_path: Path, template: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program from the caller's folder; its Python prints what it received."""
    for folder in ("lib", "venv/bin"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    python = tmp_path / "venv/bin/python"
    python.write_text('#!/bin/sh\n/bin/pwd; umask; /usr/bin/env; echo "ran: $*"\n')
    python.chmod(0o755)
    text = (TEMPLATES / template).read_text()
    program = tmp_path / "program"
    program.write_text(render_template(text, folder=str(tmp_path), venv=str(tmp_path / "venv")))
    program.chmod(0o755)
    return subprocess.run(
        [str(program), "--quick"],
        cwd=tmp_path / "bait",
        env=environment,
        umask=0,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_validation_program_ignores_the_environment_of_the_caller(
    tmp_path: Path, hostile: dict[str, str]
) -> None:
    done = run(tmp_path, "deeprig-validate.j2", hostile)
    folder, umask, *lines = done.stdout.splitlines()
    assert (folder, umask) == (f"{tmp_path}/lib", "0022")
    given = dict(line.split("=", 1) for line in lines if "=" in line and "ran:" not in line)
    assert given.pop("PWD", folder) == folder
    assert given == {
        "PATH": SYSTEM_PATH,
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": "/opt/deeprig/agent/lib",
        **({"OLDPWD": given["OLDPWD"]} if "OLDPWD" in given else {}),
    }
    assert lines[-1].startswith("ran: -s -m pytest ")
    assert lines[-1].endswith(" --quick")
    assert not (tmp_path / "mark").exists()


def test_benchmark_program_ignores_the_environment_of_the_caller(
    tmp_path: Path, hostile: dict[str, str]
) -> None:
    """The lab tests the unit; this test covers what runs before it."""
    run(tmp_path, "deeprig-bench.j2", hostile)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("words", "loopback", "private"),
    [
        ((), 0, "yes"),
        (("ddp",), 0, "yes"),
        (("--nodes", "2"), 0, "no"),
        (("--nodes=2",), 0, "no"),
        ((), 1, "no"),
    ],
)
def test_ranks_of_one_rig_run_in_a_private_network(
    words: tuple[str, ...], loopback: int, private: str, tmp_path: Path
) -> None:
    """PyTorch's stores run what any client sends, as root, on every address."""
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    runner = tmp_path / "systemd-run"
    # The first call is the probe, where there is one; the last one is the benchmark's.
    runner.write_text(f"""#!/bin/sh
echo "$*" | tr "\\n" " " >> {tmp_path}/calls; echo >> {tmp_path}/calls
case "$*" in *create_server*) exit {loopback} ;; esac
""")
    runner.chmod(0o755)
    text = render_template(
        (TEMPLATES / "deeprig-bench.j2").read_text(), venv=str(tmp_path / "venv")
    )
    program = tmp_path / "program"
    text = text.replace("$(id -u)", "0").replace("systemd-run --quiet", f"{runner} --quiet")
    program.write_text(text)
    done = subprocess.run(["sh", str(program), *words], capture_output=True, text=True, check=True)
    *_, call = (tmp_path / "calls").read_text().splitlines()
    assert f"--property=PrivateNetwork={private}" in call
    assert "agent.bench" in call
    assert ("warning: this system has no private networks" in done.stderr) == bool(loopback)


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit's template."""
    settings: dict[str, list[str]] = {}
    for line in (TEMPLATES / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(key, []).append(value)
    return settings


@pytest.mark.parametrize("name", ["deeprig-validation.service.j2", "gpu-power.service.j2"])
def test_units_run_in_the_root_folder_with_absolute_paths(name: str) -> None:
    settings = unit(name)
    assert settings["WorkingDirectory"] == ["/"]
    assert settings["UMask"] == ["0022"]
    for command in (*settings["ExecStart"], *settings.get("ExecCondition", [])):
        assert command.startswith(("/usr/bin/", "/opt/deeprig/", "{{ venv }}/bin/python -s -B"))
