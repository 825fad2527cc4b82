"""The first look at a malicious rig, and what `fab adopt` would write about it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, cast

import pytest

from provision.discovery import known_passwords, survey
from provision.discovery.questions import questions
from provision.errors import DeeprigError, OtherSystemError
from provision.ssh.shell import RootShell, ShellResult

EVIL = "{{cycler.__init__.__globals__.os.system('touch x')}}"


class Answers:
    """A shell on the rig that answers these questions only."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._by_command = {questions()[name]: text for name, text in answers.items()}

    def run(self, command: str, *_: Any, **__: Any) -> ShellResult:
        return ShellResult(0, self._by_command.get(command, b""), b"")


class Connection:
    user = "root"
    original_host = "attic"


@pytest.fixture
def look_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def look_at(**answers: bytes) -> Any:
        monkeypatch.setattr(survey, "RootShell", lambda *_: Answers(answers))
        with survey.take_survey(cast(Any, Connection()), None) as seen:
            return seen.facts

    return look_at


def rows(*names: str) -> bytes:
    return "".join(f"{name}\td\td\t\n" for name in names).encode()


def test_valid_answers_give_facts(look_at: Callable[..., Any]) -> None:
    facts = look_at(
        names=rows("/sys/class/net/eth0", "/sys/class/net/eth0/device"),
        kernel=b"==> /sys/class/net/eth0/address <==\naa:bb:cc:dd:ee:ff\n",
        addresses=b"2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\n",
    )
    (interface,) = facts["network"]["interfaces"]
    assert interface["mac"] == "aa:bb:cc:dd:ee:ff"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({}, "it wrote 'nothing'"),
        (
            {"kernel": b"'exec' is not recognized as an internal or external command,\r\n"},
            "'exec' is not recognized",
        ),
        ({"settings": b"This account is currently not available.\n"}, "not available"),
        ({"kernel": b"\x1b[2Jbad command name sh (line 1 column 1)\n"}, "bad command name"),
    ],
)
def test_host_without_files_of_linux_is_not_an_empty_rig(
    answers: dict[str, bytes], words: str, look_at: Callable[..., Any]
) -> None:
    with pytest.raises(OtherSystemError, match="does not answer as a Linux system") as error:
        look_at(**answers)
    assert words in error.value.message
    assert "\x1b" not in error.value.message


@pytest.mark.parametrize(
    "answers",
    [
        {"names": rows(f"/sys/class/net/{EVIL}", f"/sys/class/net/{EVIL}/device")},
        {
            "names": rows("/sys/class/net/eth0", "/sys/class/net/eth0/device"),
            "kernel": f"==> /sys/class/net/eth0/address <==\n{EVIL}\n".encode(),
        },
        {
            "names": rows("/sys/class/net/eth0", "/sys/class/net/eth0/device"),
            "addresses": f"2: eth0    inet {EVIL}/24 scope global eth0\n".encode(),
        },
        {"kernel": f"==> /proc/sys/kernel/random/boot_id <==\n{EVIL}\n".encode()},
    ],
)
def test_templates_as_names_or_addresses_are_refused(
    answers: dict[str, bytes], look_at: Callable[..., Any]
) -> None:
    usual = {"kernel": b"==> /proc/cmdline <==\nquiet\n", "names": rows("/sys/class/iommu/x")}
    with pytest.raises(DeeprigError, match="the rig"):
        look_at(**{**usual, **answers})


@pytest.mark.parametrize(
    "answers",
    [
        {"kernel": b"==> /proc/cmdline <==\nquiet\n"},  # BusyBox: its find has no -printf
        {"names": rows("/sys/class/iommu/x")},
    ],
)
def test_linux_with_other_commands_is_not_an_empty_rig(
    answers: dict[str, bytes], look_at: Callable[..., Any]
) -> None:
    with pytest.raises(OtherSystemError, match=r"BusyBox|Linux system") as error:
        look_at(**answers)
    assert "coreutils" in error.value.advice


@pytest.mark.parametrize(
    "answers",
    [
        {"sizes": b"x\n/dev/sda 99999999999999999999 x y 5% /\n"},
        {"kernel": b"==> /proc/meminfo <==\nMemTotal: " + b"9" * 5000 + b" kB\n"},
        {"addresses": b"2: eth0    inet 10.0.0.5/99999999999 scope x\n"},
        {"names": b"\t\t\t\n/\tl\td\t/\n//\td\td\t\n/a\tl\td\ta\n/b\tl\td\t../../../b\n"},
        {"settings": b"\x1f\x8b garbage", "nvidia_smi": b"<!DOCTYPE a><a></b>"},
    ],
)
def test_odd_files_give_facts_or_an_error(
    answers: dict[str, bytes], look_at: Callable[..., Any]
) -> None:
    try:
        facts = look_at(**answers)
    except DeeprigError as error:
        facts = {"error": error.message}
    assert facts


@pytest.mark.parametrize("answer", [EVIL, "root{{x}}", "root:x", "-rf", "ro\x1b[2Jot", "ü"])
def test_malformed_user_name_is_refused(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        def run(self, command: str, *_: Any, **__: Any) -> ShellResult:
            assert shlex.split(command)[0] == "perl"
            return ShellResult(0, f"{answer}\n".encode(), b"")

    with pytest.raises(DeeprigError, match="as a user name"):
        known_passwords.find_users_with_password(cast(RootShell, Shell()), "1")
    with pytest.raises(DeeprigError, match="as a user name"):
        known_passwords.find_known_passwords(cast(RootShell, Shell()), "user", "1")
