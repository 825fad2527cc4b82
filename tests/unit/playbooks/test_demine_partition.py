"""How demining moves a mining system's folder aside: the shell of its task, on files."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

TASKS = {
    task["name"]: task
    for task in yaml.safe_load(
        (Path(__file__).parents[3] / "playbooks/tasks/demine/system.yml").read_text()
    )
}
#: A partition is unmounted: what was on it is no longer seen, and the folder beneath is empty.
MOUNTED = {"grep": "exit 0", "umount": 'for last; do :; done; rm -r "$last"; mkdir "$last"'}
PLAIN = {"grep": "exit 1", "umount": "exit 1"}


def render_template(text: str, **variables: object) -> str:
    """A template of the task, with those of Ansible's filters that it uses."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "quote": shlex.quote,
        "dirname": os.path.dirname,
        "regex_escape": re.escape,
    }
    return environment.from_string(text).render(variables)


@pytest.mark.parametrize("programs", [MOUNTED, PLAIN], ids=["partition", "folder"])
def test_folder_is_moved_aside_also_from_a_partition(
    tmp_path: Path, programs: dict[str, str]
) -> None:
    for name, script in programs.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    folder, aside = tmp_path / "hive-config", tmp_path / "removed"
    folder.mkdir()
    (folder / "rig.conf").write_text("MAINTENANCE=2\n")
    shell = TASKS["Put aside what is left of the mining system"]["ansible.builtin.shell"]["cmd"]
    command = render_template(shell, put_aside=str(aside), item=str(folder))
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-c", command], env=environment, check=True)
    assert not folder.exists()
    assert Path(f"{aside}{folder}/rig.conf").read_text() == "MAINTENANCE=2\n"


def test_partition_of_the_mining_system_is_removed_from_fstab() -> None:
    task = TASKS["Partitions of the mining system, which the next boot would mount again"]
    moved = ["/hive", "/hive-config", "/hive-drivers-pack"]
    wanted = task["ansible.builtin.replace"]
    regexp = render_template(wanted["regexp"], system={"moved": moved})
    before = (
        "UUID=1 / ext4 defaults 0 1\n"
        "LABEL=HIVE /hive-config ntfs-3g errors=remount-ro,nofail 0 2\n"
        "LABEL=OWN /hive-other ext4 defaults 0 2\n"
    )
    after = re.sub(regexp, wanted["replace"], before, flags=re.MULTILINE)
    assert after == before.replace("LABEL=HIVE", "# deeprig: LABEL=HIVE")
    assert re.sub(regexp, wanted["replace"], after, flags=re.MULTILINE) == after
