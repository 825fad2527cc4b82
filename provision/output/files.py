"""Files that are replaced whole or not at all, and those that the operator names; their hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from provision.errors import DeeprigError

CHUNK = 1 << 20  # bytes


def read(path: Path) -> str:
    """Return a file's text with the ends of its lines as they are."""
    return path.read_bytes().decode("utf-8")


def write(path: Path, text: str, mode: int | None = None) -> None:
    """Replace a file, with its own mode where it has one; what cuts this off leaves the old one.

    A symlink goes on to point where it does. Raises DeeprigError.
    """
    path = path.resolve()
    try:
        _replace(path, text, mode)
    except OSError as error:
        raise DeeprigError(f"{path} can't be written: {error.strerror}") from None


def _replace(path: Path, text: str, mode: int | None) -> None:
    draft = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft.unlink(missing_ok=True)
    if mode is None:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode("utf-8"))
    draft.chmod(mode)
    draft.replace(path)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def make_private(folder: Path) -> Path:
    """Make a folder that only its owner may enter, and those above it; what is there stays.

    Raises DeeprigError.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)
    except OSError as error:
        raise DeeprigError(f"{folder} can't be made: {error.strerror}") from None
    return folder


def check_named(flag: str, path: str) -> None:
    """Raise DeeprigError where a file that a flag names can't be written; before any work."""
    if not path:
        return
    folder = Path(path).parent
    if Path(path).is_dir():
        why = "it is a folder"
    elif not folder.is_dir():
        why = f"the folder {folder} does not exist"
    elif not os.access(path if Path(path).exists() else folder, os.W_OK):
        why = "you may not"
    else:
        return
    raise DeeprigError(f"{flag} {path} can't be written: {why}", advice="Name a file.")


def write_named(flag: str, path: str, text: str) -> None:
    """Write a file that a flag names; a new one is its owner's alone. Raises DeeprigError."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise DeeprigError(f"{flag} {path} can't be written: {error.strerror}") from None
