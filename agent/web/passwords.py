"""Users and passwords of basic_auth_users (RFC 7617); right passwords are remembered by a digest.

bcrypt takes a tenth of a second on purpose. password_checks.py decides whose check runs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping

REMEMBERED_MOST = 100  # right passwords; there are as many as users
BCRYPT_BYTES = 72  # bcrypt ignores the rest of a password


class Passwords:
    """Compares credentials with bcrypt hashes. users: hashes by name."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._right: dict[tuple[str, bytes], bytes] = {}

    def recall(self, users: Mapping[str, bytes], authorization: str) -> bool | None:
        """Return whether the credentials are right; None if only bcrypt can tell."""
        name, password = parse_credentials(authorization)
        if name is None:
            return False
        hashed = self._right.get((name, self.digest(password)))
        return True if hashed is not None and hashed == users.get(name) else None

    def check(self, users: Mapping[str, bytes], authorization: str) -> bool:
        """Check with bcrypt. An unknown name takes as long as the wrong password of a user.

        Users may have hashes of different cost; an unknown name always has the cost of the same
        user, so that the time does not reveal which names exist.
        """
        import bcrypt  # only with users configured: the module takes memory

        name, password = parse_credentials(authorization)
        if name is None:
            return False
        hashed = users.get(name)
        choice = int.from_bytes(self.digest(name.encode())[:8], "big") % len(users)
        stand_in = list(users.values())[choice]
        try:
            is_right = bcrypt.checkpw(password[:BCRYPT_BYTES], hashed or stand_in)
        except ValueError:
            return False
        if not is_right or hashed is None:
            return False
        if len(self._right) >= REMEMBERED_MOST:
            self._right.clear()
        self._right[name, self.digest(password)] = hashed
        return True

    def forget(self) -> None:
        """Forget all right passwords, because the users may have changed."""
        self._right.clear()

    def digest(self, text: bytes) -> bytes:
        """Return a digest that only this process can compute."""
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()


def parse_credentials(authorization: str) -> tuple[str | None, bytes]:
    """Return name and password of an Authorization header; the name is None if it has none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None, b""
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
        name, colon, password = decoded.partition(b":")
        return (name.decode() if colon else None), password
    except (binascii.Error, UnicodeDecodeError):
        return None, b""
