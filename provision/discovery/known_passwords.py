"""Passwords of a rig that others know: which they are, and which users have them."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from provision.boundary.patterns import USER, check_form
from provision.inventory import yaml_source
from provision.ssh.shell import RootShell

#: Perl is on every Debian and Ubuntu, and its crypt knows all hashes that the system knows.
SHARERS = """
chomp(my $password = <STDIN>);
setpwent;
while (my ($user, $hash) = getpwent) {
  print "$user\\n" if $hash =~ /^\\$/ and (crypt($password, $hash) // "") eq $hash;
}
"""
TABLE = Path(__file__).parent / "logins.yml"
PASSWORD_BYTES = 15  # of randomness in a new password: 20 characters


SHIPPED = "it is the mining system's default password"


def shipped_passwords(user: str = "") -> list[str]:
    """Return the passwords that mining systems ship with, of this user or of anyone."""
    logins: Any = yaml_source.load_yaml(TABLE)["logins"]
    rows = [row for rows in logins.values() for row in rows]
    return sorted({row["password"] for row in rows if user in ("", row["user"])})


def explain_weakness(user: str, password: str, system: str | None) -> str:
    """Return why a password should not stay; empty when it may. system: the mining system's key."""
    table: Any = yaml_source.load_yaml(TABLE)
    for row in table["logins"].get(system or "", ()):
        if (row["user"], row["password"]) == (user, password):
            return SHIPPED
    if password == user:
        return "it is the user's name"
    if len(password) < table["shortest"]:
        return f"it has fewer than {table['shortest']} characters"
    return ""


def generate_password() -> str:
    """Return a new random password: letters, digits, - and _, never with a dash first."""
    return f"d{secrets.token_urlsafe(PASSWORD_BYTES)}"


@dataclass(frozen=True)
class KnownPassword:
    """A user's password that others know, and why they do."""

    user: str
    password: str
    why: str


def find_known_passwords(root: RootShell, user: str, password: str | None) -> list[KnownPassword]:
    """Return every user with a default password of a mining system, or the login's weak one.

    The rig's own hashes decide.
    """
    why = dict.fromkeys(shipped_passwords(), SHIPPED)
    if password is not None and (weakness := explain_weakness(user, password, None)):
        why.setdefault(password, weakness)
    return [
        KnownPassword(user_name, candidate, reason)
        for candidate, reason in why.items()
        for user_name in find_users_with_password(root, candidate)
    ]


def describe_owners(passwords: list[KnownPassword]) -> str:
    """Whose they are, and why they can't stay."""
    return "\n".join(
        f"of {' and '.join(sorted(entry.user for entry in rows))}: {why}"
        for why, rows in groupby(
            sorted(passwords, key=lambda entry: entry.why), lambda entry: entry.why
        )
    )


def find_users_with_password(root: RootShell, password: str) -> list[str]:
    """Return the users who have this password: mining systems give it to root, too.

    Raises DeeprigError for what can't be a user's name.
    """
    done = root.run(f"perl -e {shlex.quote(SHARERS)}", content=f"{password}\n")
    users = done.out.decode("utf-8", "replace").split()
    return [check_form("user name", USER, user) for user in users]
