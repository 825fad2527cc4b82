"""The operator's SSH key: an existing key, or a new one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from provision.errors import DeeprigError

FOLDER = Path("~/.ssh")
#: In OpenSSH's own order of preference today.
USUAL = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class OperatorKey:
    """private: its file. line: what authorized_keys holds. made: whether it is new."""

    private: Path
    line: str
    made: bool = False

    @property
    def blob(self) -> str:
        """The key itself, without type and comment: what tells keys apart."""
        return self.line.split()[1]

    @property
    def locked(self) -> bool:
        """Whether it has a passphrase, so that only ssh-agent can use it."""
        return _locked(self.private)


def plan_key(path: Path = FOLDER / USUAL[0]) -> OperatorKey:
    """Return the key that `make` would make."""
    return OperatorKey(path.expanduser(), "", made=True)


def check(key: OperatorKey) -> None:
    """Check that a login with this key can work. Raises DeeprigError."""
    if key.locked and key.blob not in {
        agent_key.get_base64() for agent_key in paramiko.Agent().get_keys()
    }:
        raise DeeprigError(
            f"{key.private} has a passphrase, and no ssh-agent has it open",
            advice=f"ssh-add {key.private}, or name another key with -i.",
        )


def find(given: Sequence[str]) -> OperatorKey | None:
    """Return the key of -i, else the first default key. Raises DeeprigError for an unusable key."""
    if given:
        return _read(Path(given[0]).expanduser())
    paths = [(FOLDER / name).expanduser() for name in USUAL]
    return next((_read(path) for path in paths if path.is_file()), None)


def create_key(path: Path = FOLDER / USUAL[0]) -> OperatorKey:
    """Return a new key, as ssh-keygen makes it. Raises DeeprigError."""
    private = path.expanduser()
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deeprig", "-f", str(private)]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", "") or str(error)
        raise DeeprigError(
            f"cannot create an SSH key at {private}: {output.strip()}",
            advice="Make one with ssh-keygen, and name it with -i.",
        ) from None
    key = _read(private)
    return OperatorKey(key.private, key.line, made=True)


def _locked(private: Path) -> bool:
    try:
        paramiko.PKey.from_path(private)
    except TypeError:  # paramiko's word for a passphrase that it was not given
        return True
    except (paramiko.SSHException, ValueError, OSError):
        return False
    return False


def _read(private: Path) -> OperatorKey:
    public = private.with_name(f"{private.name}.pub")
    if not private.is_file() or b"PRIVATE KEY" not in private.read_bytes()[:100]:
        raise DeeprigError(
            f"{private} is not a private key", advice="Name yours with -i, as ssh does."
        )
    try:
        line = public.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise DeeprigError(
            f"the public half of {private} can't be read: {error.strerror}",
            advice=f"ssh-keygen -y -f {private} > {public}",
        ) from None
    if len(line.split()) < 2 or "\n" in line:
        raise DeeprigError(f"{public} is not a public key")
    return OperatorKey(private, line)
