"""Replace the passwords of a rig that are publicly known."""

from __future__ import annotations

from dataclasses import dataclass

from provision.adopt import logins, records
from provision.adopt.steps import AdoptionReport
from provision.discovery.known_passwords import KnownPassword, describe_owners, generate_password
from provision.inventory.hosts import Inventory
from provision.ssh.shell import RootShell


@dataclass(frozen=True)
class Replacement:
    """Gives all of them one new password. login: the user that deeprig logs in as.

    host_key: of the rig; a password that is kept goes to no other.
    """

    root: RootShell
    inventory: Inventory
    name: str
    login: str
    report: AdoptionReport
    host_key: str

    def replace(self, passwords: list[KnownPassword]) -> str | None:
        """Replace them, or none; the login's new password, None where it has its old one."""
        new = generate_password()
        users = sorted(entry.user for entry in passwords)
        is_login = self.login in users
        before = records.secrets(self.inventory, self.name)
        path = self._keep(new, users)  # first: a password is never lost
        done = logins.set_passwords(self.root, dict.fromkeys(users, new))
        tried = RootShell(self.root.transport, new).run("true").status == 0 if is_login else True
        if done.status != 0 or not tried:
            logins.set_passwords(
                self.root,
                {entry.user: entry.password for entry in passwords},
            )
            records.restore_secrets(self.inventory, self.name, before)
            if is_login:
                old = next(entry.password for entry in passwords if entry.user == self.login)
                self._record(ansible_become_password=old)
            reason = done.last_words or "sudo refused the new one"
            self.report.add(
                "password",
                "failed",
                f"{describe_owners(passwords)}\nThe change failed: {reason}",
            )
            return None
        self.report.add(
            "password", "changed", f"{describe_owners(passwords)}\nThe new one is in {path}"
        )
        return new if is_login else None

    def _keep(self, new: str, users: list[str]) -> object:
        """Under the name that sudo's has, where the login gets it; else by its users."""
        if self.login in users:
            return self._record(ansible_become_password=new)
        return self._record(other_passwords=dict.fromkeys(users, new))

    def _record(self, **passwords: object) -> object:
        return records.keep(self.inventory, self.name, self.host_key, **passwords)
