"""The vendor's key file: exactly one primary key, the pinned one, before apt may read it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.local import PlayResult, play

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


class Keys:
    """Two keys in a gpg home: the vendor's and another one."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for owner in ("vendor", "other"):
            # Same second: a subkey may not be added to a key that is created later.
            self.gpg(
                "--faked-system-time",
                "20250101T000000!",
                "--quick-gen-key",
                f"{owner} <{owner}@keys.example>",
                "rsa2048",
                "sign",
                "never",
            )
        self.vendor, self.other = (self.field(name, "fpr") for name in ("vendor", "other"))

    def gpg(self, *words: str, data: str = "") -> bytes:
        options = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        command = ["gpg", "--homedir", str(self.home), *options, *words]
        return subprocess.run(command, input=data.encode(), check=True, capture_output=True).stdout

    def field(self, name: str, row: str, number: int = 9) -> str:
        """A field of the first row of this kind that gpg lists for the key."""
        listed = self.gpg("--with-colons", "--with-keygrip", "-k", f"{name}@keys.example").decode()
        return next(
            line.split(":")[number] for line in listed.splitlines() if line.startswith(f"{row}:")
        )

    def export(self, *names: str, armor: bool = True) -> bytes:
        options = ["--armor"] if armor else []
        return b"".join(self.gpg(*options, "--export", f"{name}@keys.example") for name in names)

    def add_vendor_as_subkey(self) -> None:
        """Make the vendor's key a subkey of the other one: it keeps its fingerprint."""
        words = f"addkey\n13\n{self.field('vendor', 'grp')}\nq\n0\nsave\n"
        created = self.field("vendor", "pub", 5)
        self.gpg(
            "--expert",
            "--faked-system-time",
            f"{created}!",
            "--command-fd",
            "0",
            "--edit-key",
            self.other,
            data=words,
        )


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with tempfile.TemporaryDirectory(prefix="keys-") as home:  # short: gpg-agent's socket is in it
        made = Keys(Path(home))
        yield made
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def trust(content: bytes, pinned: str, folder: Path) -> tuple[PlayResult, Path]:
    """Play the tasks that fetch and check the key."""
    (folder / "served").write_bytes(content)
    keyring = folder / "keyring.asc"
    tasks = yaml.safe_load((ROOT / "playbooks/tasks/driver/key.yml").read_text())
    tasks = [task for task in tasks if re.search(r"repository's key|Key of", task["name"])]
    assert len(tasks) == 2
    book = [{"name": "Key", "hosts": "all", "gather_facts": False, "tasks": tasks}]
    variables = {
        "driver_repository_key": f"file://{folder}/served",
        "driver_key_draft": str(folder / "draft.asc"),
        "driver_keyring": str(keyring),
        "driver_key_fingerprint": pinned,
    }
    return play(yaml.safe_dump(book), folder, variables=variables), keyring


def list_fingerprints(keyring: Path) -> list[str]:
    """The fingerprints in a key file."""
    done = subprocess.run(
        ["gpg", "--batch", "--with-colons", "--show-keys", str(keyring)],
        check=True,
        capture_output=True,
        text=True,
    )
    return re.findall(r"^fpr:+([0-9A-F]+):", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("armor", [True, False], ids=["armored", "binary"])
def test_only_the_pinned_key_is_trusted(keys: Keys, tmp_path: Path, armor: bool) -> None:
    played, keyring = trust(keys.export("vendor", armor=armor), keys.vendor, tmp_path)
    assert played.counts["failed"] == 0, played.text
    assert list_fingerprints(keyring) == [keys.vendor]
    assert keyring.read_text().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")


@pytest.mark.parametrize("order", [("vendor", "other"), ("other", "vendor")])
@pytest.mark.parametrize("armor", [True, False], ids=["armored", "binary"])
def test_a_second_primary_key_is_refused(
    keys: Keys, tmp_path: Path, armor: bool, order: tuple[str, str]
) -> None:
    played, keyring = trust(keys.export(*order, armor=armor), keys.vendor, tmp_path)
    assert played.counts["failed"] == 1, played.text
    assert "2 primary keys" in played.text
    assert not keyring.exists()


def test_other_key_is_refused(keys: Keys, tmp_path: Path) -> None:
    played, keyring = trust(keys.export("other"), keys.vendor, tmp_path)
    assert played.counts["failed"] == 1
    assert keys.vendor in played.text
    assert not keyring.exists()


def test_bytes_after_the_key_never_reach_apt(keys: Keys, tmp_path: Path) -> None:
    """GnuPG reads the first armored block only; another reader might read on."""
    hidden = keys.export("other", armor=False)
    played, keyring = trust(keys.export("vendor") + hidden, keys.vendor, tmp_path)
    assert played.counts["failed"] == 0, played.text
    assert hidden not in keyring.read_bytes()
    assert keyring.read_bytes().rstrip().endswith(b"-----END PGP PUBLIC KEY BLOCK-----")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"], ids=["empty", "a web page"])
def test_a_file_without_a_key_is_refused(keys: Keys, tmp_path: Path, content: bytes) -> None:
    played, keyring = trust(content, keys.vendor, tmp_path)
    assert played.counts["failed"] == 1
    assert not keyring.exists()


def test_pinned_key_as_a_subkey_is_refused(keys: Keys, tmp_path: Path) -> None:
    """Its fingerprint is in the file, but apt would trust the other key."""
    with tempfile.TemporaryDirectory(prefix="keys-") as home:
        mixed = Keys(Path(home))
        mixed.add_vendor_as_subkey()
        content = mixed.export("other")
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    (tmp_path / "look").write_bytes(content)
    assert list_fingerprints(tmp_path / "look") == [mixed.other, mixed.vendor]
    played, keyring = trust(content, mixed.vendor, tmp_path)
    assert played.counts["failed"] == 1
    assert mixed.other in played.text
    assert not keyring.exists()
