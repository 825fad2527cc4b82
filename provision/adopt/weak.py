"""Which passwords others know."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from provision import source

TABLE = Path(__file__).parent / "logins.yml"
BYTES = 15  # of randomness in a new password: 20 characters


SHIPPED = "it is the one that the mining system ships with"


def shipped(user: str = "") -> list[str]:
    """The passwords that mining systems ship with, of this user or of anyone."""
    logins: Any = source.load(TABLE)["logins"]
    rows = [row for rows in logins.values() for row in rows]
    return sorted({row["password"] for row in rows if user in ("", row["user"])})


def why_weak(user: str, password: str, system: str | None) -> str:
    """Why a password should not stay; empty when it may. system: the mining system's key."""
    table: Any = source.load(TABLE)
    for row in table["logins"].get(system or "", ()):
        if (row["user"], row["password"]) == (user, password):
            return SHIPPED
    if password == user:
        return "it is the user's name"
    if len(password) < table["shortest"]:
        return f"it has fewer than {table['shortest']} characters"
    return ""


def new_password() -> str:
    """A password that nobody knows: letters, digits, - and _, never with a dash first."""
    return f"d{secrets.token_urlsafe(BYTES)}"
