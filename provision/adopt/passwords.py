"""A rig's passwords that others know: who has one, and how it is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from provision.adopt import door, record, weak
from provision.adopt.steps import Report
from provision.inventory import Inventory
from provision.rootshell import RootShell


@dataclass(frozen=True)
class Known:
    """A user's password that others know, and why they do."""

    user: str
    password: str
    why: str


def known_to_others(root: RootShell, user: str, password: str | None) -> list[Known]:
    """Every user whose password is one that mining systems ship with, or is the login's weak one.

    By the rig's own hashes: what somebody believes to be a password need not be it.
    """
    why = dict.fromkeys(weak.shipped(), weak.SHIPPED)
    if password is not None and (own := weak.why_weak(user, password, None)):
        why.setdefault(password, own)
    return [
        Known(one, candidate, reason)
        for candidate, reason in why.items()
        for one in door.sharers(root, candidate)
    ]


def told(found: list[Known]) -> str:
    """Whose they are, and why they can't stay."""
    return "\n".join(
        f"of {' and '.join(sorted(one.user for one in rows))}: {why}"
        for why, rows in groupby(sorted(found, key=lambda one: one.why), lambda one: one.why)
    )


@dataclass(frozen=True)
class Replacement:
    """Gives all of them one new password. login: the user that deeprig logs in as.

    host_key: of the rig; a password that is kept goes to no other.
    """

    root: RootShell
    inventory: Inventory
    name: str
    login: str
    report: Report
    host_key: str

    def replace(self, found: list[Known]) -> str | None:
        """Replace them, or none; the login's new password, None where it has its old one."""
        new = weak.new_password()
        users = sorted(one.user for one in found)
        own = self.login in users
        before = record.secrets(self.inventory, self.name)
        path = self._keep(new, users)  # first: a password is never lost
        done = door.set_passwords(self.root, dict.fromkeys(users, new))
        tried = RootShell(self.root.connection, new).run("true").status == 0 if own else True
        if done.status != 0 or not tried:
            door.set_passwords(self.root, {one.user: one.password for one in found})
            record.restore_secrets(self.inventory, self.name, before)
            if own:
                old = next(one.password for one in found if one.user == self.login)
                self._record(ansible_become_password=old)
            said = done.last_words or "sudo refused the new one"
            self.report.tell(
                "password", "failed", f"{told(found)}\nIt could not be changed: {said}"
            )
            return None
        self.report.tell("password", "changed", f"{told(found)}\nThe new one is in {path}")
        return new if own else None

    def _keep(self, new: str, users: list[str]) -> object:
        """Under the name that sudo's has, where the login gets it; else by its users."""
        if self.login in users:
            return self._record(ansible_become_password=new)
        return self._record(other_passwords=dict.fromkeys(users, new))

    def _record(self, **passwords: object) -> object:
        return record.keep(self.inventory, self.name, self.host_key, **passwords)
