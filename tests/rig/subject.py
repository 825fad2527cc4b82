"""The rig under test: what the checks read from it, over testinfra's `host`."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from provision.remote import ask
from tests.rig import smi
from tests.rig.smi import Smi

AGENT_CODE = "/opt/deeprig/agent/lib"
SUITE_CODE = "/opt/deeprig/validation/lib"
RECORD = "/etc/deeprig/validation.json"
STATE = "/var/lib/deeprig"
#: Prints the PCIe error counters of every device on a GPU's path: {address: {severity: count}}.
AER_CODE = """
import json
from agent.readings import pcie
found = {}
for gpu in pcie.read_gpus(aer=True):
    for port in gpu.path:
        if port.aer is not None:
            found[port.address] = port.aer.totals
print(json.dumps(found))
"""
#: Asks the agent for its document; the address is in the command line.
ASK_CODE = Path(ask.__file__).read_text(encoding="utf-8")


#: Runs a command for so many seconds and no longer. What a driver's call hangs in can't be killed:
#: it is not waited for, and holds nothing of ours.
WITHIN_CODE = """
import os, subprocess, sys, tempfile
with tempfile.TemporaryFile() as out:
    try:
        child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        status = child.wait(float(sys.argv[1]))
    except subprocess.TimeoutExpired:
        child.kill()
        status = 124
    except OSError as error:
        out.write(f"{sys.argv[2]}: {error.strerror}".encode())
        status = 127
    out.seek(0)
    sys.stdout.buffer.write(out.read())
sys.stdout.flush()
os._exit(status % 256)
"""
HANGS = 124  # as timeout(1) ends
#: Seconds without a line of the benchmarks. They have and report deadlines; but pairs
#: are printed all at once, and many GPUs behind x1 risers have hundreds of them.
SILENCE = 1200.0


class Silent(Exception):
    """The agent or a command does not answer; the text is the reason.

    A check that it ends is unknown: it read nothing (tests/rig/recorder.py).
    """


class Subject:
    """host: testinfra's. facts: deeprig's own. expected: playbooks/vars/validation.yml's."""

    def __init__(
        self,
        name: str,
        host: Any,
        facts: Mapping[str, Any] | None = None,
        expected: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.host = host
        self._facts = facts
        self._expected = expected

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """The record of provisioning; empty on a rig that was not provisioned."""
        file = self.host.file(RECORD)
        content: Mapping[str, Any] = json.loads(file.content_string) if file.exists else {}
        return content

    @cached_property
    def expected(self) -> Mapping[str, Any]:
        """The expectations of the inventory; on the rig itself, the last ones."""
        return self.record if self._expected is None else self._expected

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """deeprig's facts of the rig."""
        if self._facts is not None:
            return self._facts
        read: Mapping[str, Any] = self.python_json("-m", "provision.remote.facts")
        return read

    @property
    def gpus(self) -> list[Mapping[str, Any]]:
        """The GPUs on the bus, by address."""
        return list(self.facts["gpus"])

    def output(self, command: str, *args: str) -> str:
        """Return a command's output; empty if it fails."""
        done = self.host.run(command, *args)
        return str(done.stdout).strip() if done.rc == 0 else ""

    def read(self, command: str) -> str:
        """What a command writes that must not fail: nothing may mean that all is well. Raises
        Silent.
        """
        done = self.host.run(command)
        if done.rc != 0:
            errors = str(done.stderr).strip().splitlines() or [f"it ended with status {done.rc}"]
            raise Silent(f"{command.split()[0]} printed nothing: {errors[-1]}")
        return str(done.stdout).strip()

    def within(self, seconds: float, *words: str) -> tuple[int, str]:
        """Return status (HANGS after the timeout) and all output of a command that may hang."""
        command = " ".join(shlex.quote(word) for word in (f"{seconds:g}", *words))
        done = self.host.run(f"python3 -I -c {shlex.quote(WITHIN_CODE)} {command}")
        return int(done.rc), str(done.stdout).strip()

    def python_json(self, *args: str) -> Any:
        """Run Python code on the rig; return the JSON that it prints."""
        words = " ".join(shlex.quote(arg) for arg in args)
        path = f"{SUITE_CODE}:{AGENT_CODE}"
        # Python looks for modules in the working directory first: it must be root's.
        done = self.host.run(f"cd / && PYTHONPATH={path} python3 -s -B {words}")
        assert done.rc == 0, f"{words[:60]}: {done.stderr.strip()[-500:]}"
        return json.loads(done.stdout)

    @cached_property
    def smi(self) -> Smi:
        """nvidia-smi's answer, read once: a hung GPU delays every call."""
        status, text = self.within(smi.SECONDS, *smi.COMMAND)
        if status == HANGS:
            return Smi({}, f"nvidia-smi hangs: no answer within {smi.SECONDS} s", hangs=True)
        return smi.parse(text)

    def agent(self) -> Mapping[str, Any]:
        """Return the agent's current document. Raises Silent."""
        url = f"{self.expected['agent_url']}/api/v1/rig"
        done = self.host.run("python3 -I -c %s %s", ASK_CODE, url)
        if done.rc != 0:
            raise Silent(f"the agent does not answer at {url}: {done.stderr.strip()}")
        document: Mapping[str, Any] = json.loads(done.stdout)
        return document

    def pcie_errors(self) -> Mapping[str, Mapping[str, int]]:
        """Return AER counters by device and severity, without devices that count none."""
        counts: Mapping[str, Mapping[str, int]] = self.python_json("-c", AER_CODE)
        return counts

    def follow(self, command: str, on_line: Callable[[str], None]) -> Any:
        """Run a long command; pass on its lines as they arrive if the connection can."""
        backend = self.host.backend
        if hasattr(backend, "follow"):
            return backend.follow(command, on_line, silence=SILENCE)
        # No pipe: what is at its end from the start would be taken for an operator gone away.
        done = self.host.run(f"{command} < /dev/null")
        for line in done.stdout.splitlines():
            on_line(line)
        return done

    def store(self, path: str, content: str) -> None:
        """Write a file on the rig in one step."""
        backend = self.host.backend
        write = f"cat > {path}.new && mv {path}.new {path}"
        if hasattr(backend, "follow"):
            done = backend.follow(write, content=content)
        else:
            done = subprocess.run(write, shell=True, input=content, text=True, check=False)
        assert (done.rc if hasattr(done, "rc") else done.returncode) == 0, f"can't write {path}"
