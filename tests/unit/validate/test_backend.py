"""Commands on a rig that answers, hangs, or is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from provision.discovery.backend import RigBackend
from provision.errors import HungError, LostError
from provision.ssh.shell import RootShell, ShellResult
from provision.ssh.transport import Transport


def backend(*answers: ShellResult | Exception, connected: bool = True) -> RigBackend:
    """Return a backend whose shell gives these answers, one after another."""
    left = list(answers)

    def run(*_: Any, **__: Any) -> ShellResult:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    transport = SimpleNamespace(is_connected=connected)
    shell: Any = SimpleNamespace(run=run, transport=transport)
    return RigBackend("rig", shell)


HANG = HungError("a command printed nothing for 120 s")


def test_hung_command_on_a_live_rig_is_a_hang() -> None:
    with pytest.raises(HungError, match="printed nothing for 120 s"):
        backend(HANG, ShellResult(0, b"", b"")).run("nvidia-smi")


def test_rig_that_runs_no_commands_is_lost() -> None:
    with pytest.raises(LostError, match="it runs nothing any more") as raised:
        backend(HANG, HANG).run("nvidia-smi")
    assert not isinstance(raised.value, HungError)


def test_connection_that_ends_during_a_command_is_a_loss() -> None:
    with pytest.raises(LostError, match="lost the rig in the middle: the connection ended"):
        backend(ShellResult(-1, b"", b""), connected=False).run("true")
    killed = backend(ShellResult(-1, b"", b"")).run("kill -9 $$")
    assert killed.rc == -1, "a command that a signal ended, on a rig that is there"


def test_timeout_without_a_message_is_explained() -> None:
    """Paramiko raises an exception without a message."""

    def silent(*_: Any) -> None:
        raise TimeoutError

    channel = SimpleNamespace(exec_command=silent, close=lambda: None)
    transport = SimpleNamespace(user="root", open_channel=lambda silence: channel)
    shell = RootShell(cast(Transport, transport), None)
    with pytest.raises(HungError, match="a command printed nothing for 3 s"):
        shell.run("true", silence=3)
