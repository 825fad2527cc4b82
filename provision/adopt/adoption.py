"""Adopting one rig: each step is tried before the next one depends on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from fabric import Config

from provision.adopt import inventory_file, logins, operator_key, records
from provision.adopt.inventory_file import Edit
from provision.adopt.operator_key import OperatorKey
from provision.adopt.passwords import Replacement
from provision.adopt.steps import AdoptionReport, Status
from provision.discovery import known_passwords
from provision.discovery.refusals import refuse_rental, refuse_workstation
from provision.discovery.survey import Survey, describe_rig, take_survey
from provision.errors import DeeprigError, UnreachableError
from provision.inventory.hosts import Host, Inventory
from provision.ssh.connection import RigConnection
from provision.ssh.host_keys import fingerprint, format_host_key
from provision.ssh.shell import RootShell, Shell
from provision.templating.host_variables import render_variable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class AdoptOptions:
    """The flags of `fab adopt`. name: the new name of the rig; file: the inventory's path."""

    name: str = ""
    keys: Sequence[str] = ()
    file: str = ""
    accept_new: bool = False
    keep_passwords: bool = False
    accept_workstation: bool = False
    check: bool = False


@dataclass(frozen=True)
class Login:
    """How a rig is reached. password: None where a key opens. refused: one was known, and does not.

    sudo_password: what sudo may want, None where nothing is known.
    """

    host: Host
    password: str | None
    sudo_password: str | None
    refused: bool = False


class Adoption:
    """One rig on its way."""

    def __init__(
        self,
        inventory: Inventory,
        config: Config,
        wish: AdoptOptions,
        report: AdoptionReport,
        login: Login,
    ) -> None:
        self.inventory = inventory
        self.config = config
        self.wish = wish
        self.report = report
        self.host = login.host
        self.password = login.password
        self.sudo_password = login.sudo_password
        self.refused = login.refused
        self.host_key = ""  # known once it is connected

    def run(self) -> None:
        """Adopt it. Raises DeeprigError; what was done until then is in the report."""
        connection = RigConnection(self._login_host(), self.config, self.wish.accept_new)
        try:
            connection.open()
            self.host_key = format_host_key(connection.transport.get_remote_server_key())
            self._tell_host_key(connection)
            with take_survey(connection, self.sudo_password) as look:
                refuse_rental(look)
                refuse_workstation(look, self.wish.accept_workstation)
                name = self._name(look)
                sudo_password = (
                    None if look.as_root else self._other_sudo_password(connection, name)
                )
                if sudo_password is None:
                    self._adopt(connection, look, name)
                    return
            self.sudo_password = sudo_password
            with take_survey(connection, sudo_password) as look:
                self._adopt(connection, look, name)
        finally:
            connection.close()

    def _adopt(self, connection: RigConnection, look: Survey, name: str) -> None:
        """Do the steps that need a survey of the rig."""
        self._tell_rig(look)
        key = self._key(connection)
        works = self._try_key(key)
        expected = self._edit(look, name, key, stale=True)
        if expected and expected.problem:  # before anything that the entry must tell is changed
            self.report.add(
                "inventory",
                "failed",
                f"{expected.problem}\nPasswords and the door stay as they are.",
            )
            return
        root = RootShell(connection, self.sudo_password)
        if works and not self.wish.keep_passwords:
            self._passwords(root, look, name)
            self._close(root, key)
        self._keep_sudo_password(name)
        self._entry(look, name, key, works)

    def _other_sudo_password(self, connection: RigConnection, name: str) -> str | None:
        """Return a password of an interrupted run, or a default password of the mining system."""
        kept = records.find_kept_password(self.inventory, name, self.host_key)
        candidates = [kept, *known_passwords.shipped_passwords(self._user)]
        for password in candidates:
            if password in (None, self.sudo_password):
                continue
            if RootShell(connection, password).run("true").status == 0:
                return password
        return None

    @property
    def _user(self) -> str:
        return str(render_variable(self.host, "ansible_user", "ansible_ssh_user"))

    def _login_host(self) -> Host:
        if self.password is None:
            return self.host
        return logins.with_password_only(self.host, self.password)

    def _tell_host_key(self, connection: RigConnection) -> None:
        key = connection.transport.get_remote_server_key()
        self.report.add(
            "host key", "ok", f"{key.get_name()} {fingerprint(key)}\nin {connection.known_hosts}"
        )

    def _name(self, look: Survey) -> str:
        """Return the rig's name: from --name, the inventory, or its host name."""
        known_host = records.find_known_host(self.inventory, self.host, self.host_key)
        if known_host and known_host.name in self.inventory.hosts:
            self.report.name = known_host.name
            if self.wish.name and self.wish.name != known_host.name:
                raise DeeprigError(
                    f"the inventory knows this rig as '{known_host.name}'",
                    advice="Leave out --name, or rename it in the inventory first.",
                )
            return known_host.name
        if self.wish.name and not NAME.fullmatch(self.wish.name):
            raise DeeprigError(
                f"'{self.wish.name}' is not a valid host name",
                advice="Letters, digits, and . _ - between them.",
            )
        hostname = look.tree.line("/proc/sys/kernel/hostname")
        name = (
            self.wish.name or re.sub(r"[^a-z0-9-]+", "-", hostname.lower())[:63].strip("-") or "rig"
        )
        if name in self.inventory.hosts or name in self.inventory.groups:
            raise DeeprigError(
                f"the inventory has another '{name}' already",
                advice="Choose another name with --name NAME.",
            )
        self.report.name = name
        if other := records.find_same_mac_address(self.inventory, look):
            self.report.add(
                "identity",
                "left",
                f"it has the MAC address of '{other}', but another host key: for deeprig it is "
                f"another rig.\nIf '{other}' was reinstalled, take its entry and its host_vars "
                "out of the inventory.",
            )
        return name

    def _tell_rig(self, look: Survey) -> None:
        rows = dict(describe_rig(look))
        lines = [rows[label] for label in ("system", "board", "GPUs")]
        self.report.add("rig", "ok", "\n".join(lines))
        if not look.as_root:
            self.report.add(
                "sudo", "left", "the login can't become root with what is known: less is seen"
            )

    def _key(self, connection: RigConnection) -> OperatorKey:
        key = operator_key.find(self.wish.keys)
        if key is None and self.wish.check:
            key = operator_key.plan_key()
            self.report.add("SSH key", "would change", f"{key.private}, to be made")
            return key
        key = key or operator_key.create_key()
        operator_key.check(key)
        new = logins.install_key(Shell(connection), key, self.wish.check)
        what = f"{key.private}{', made now' if key.made else ''}"
        self.report.add("SSH key", self._change if new else "ok", what)
        return key

    def _try_key(self, key: OperatorKey) -> bool:
        """Return whether the key opens the door by itself; what `--check` can't try would do."""
        if self.report.steps[-1].status == "would change":
            return True
        why = logins.explain_refusal(logins.with_key_only(self.host, key))
        if why:
            self.report.add(
                "key login",
                "failed",
                f"{why}\nThe password was not changed. See sshd's log on the rig\n"
                "(journalctl -u ssh): often a home folder that others may write to.",
            )
            return False
        self.report.add("key login", "ok", f"as {self._user}")
        return True

    def _passwords(self, root: RootShell, look: Survey, name: str) -> None:
        """Replace what others know: the login's password, root's, anyone's."""
        if not look.as_root:
            mining = look.facts["mining_os"]
            key = mining["key"] if mining else None
            if self.password and (
                why := known_passwords.explain_weakness(self._user, self.password, key)
            ):
                self.report.add(
                    "password", "left", f"of {self._user}: {why}, but sudo takes not this one"
                )
            return
        public_passwords = known_passwords.find_known_passwords(root, self._user, self.password)
        if not public_passwords:
            self.report.add("password", "ok", "no user has a publicly known password")
        elif self.wish.check:
            self.report.add(
                "password", "would change", known_passwords.describe_owners(public_passwords)
            )
        else:
            exchange = Replacement(
                root, self.inventory, name, self._user, self.report, self.host_key
            )
            if new := exchange.replace(public_passwords):
                self.sudo_password = root.sudo_password = new

    def _close(self, root: RootShell, key: OperatorKey) -> None:
        """Disable password logins, and check that the key still works."""
        if not logins.takes_passwords(logins.offered_methods(self.host)):
            self.report.add("door", "ok", "password logins are disabled")
            return
        if self.wish.check:
            self.report.add("door", "would change", "password logins would be disabled")
            return
        if root.run("true").status != 0:
            self.report.add("door", "left", "logins by password stay: it takes root to end them")
            return
        why = logins.close(root) or self._still_open(key)
        if why:
            logins.reopen(root)
            self.report.add("door", "failed", f"logins by password stay: {why}")
        else:
            self.report.add("door", "changed", "password logins are disabled now")

    def _still_open(self, key: OperatorKey) -> str:
        """Return why password logins still work after they were disabled, or an empty text."""
        try:
            offered = logins.offered_methods_after_reload(self.host)
        except UnreachableError as error:
            return error.message
        if refused := logins.explain_refusal(logins.with_key_only(self.host, key)):
            return f"the key was refused then: {refused}"
        if logins.takes_passwords(offered):
            return "sshd still offers them: another setting allows them"
        return ""

    def _keep_sudo_password(self, name: str) -> None:
        """Keep what sudo asks for, where the entry alone would not do."""
        configured = render_variable(self.host, "ansible_become_password", "ansible_become_pass")
        kept = records.find_kept_password(self.inventory, name, self.host_key)
        wanted = self.sudo_password
        if wanted is None or self.wish.check or wanted in (kept, configured):
            return
        records.keep(self.inventory, name, self.host_key, ansible_become_password=wanted)

    def _edit(self, look: Survey, name: str, key: OperatorKey, stale: bool) -> Edit | None:
        """Return the change of the inventory; None where it is up to date. stale: a prediction."""
        path = records.file_of(self.inventory, self.wish.file, name)
        values = records.variables(self.host, look, key, self.host_key)
        if name in self.inventory.hosts:
            entry = self.inventory.host(name)
            return inventory_file.plan_change(self.inventory, entry, path, values, stale)
        return inventory_file.plan_addition(path, name, values, records.comment(look, date.today()))

    def _entry(self, look: Survey, name: str, key: OperatorKey, works: bool) -> None:
        """Write the rig into the inventory, or bring its entry up to date."""
        is_listed = name in self.inventory.hosts
        if not works and not is_listed:
            self.report.add("inventory", "left", "nothing is written while the key does not open")
            return
        edit = self._edit(look, name, key, stale=self._has_stale_password(name))
        if edit is None:
            self.report.add("inventory", "ok", f"{name} is in it")
            return
        if not self.wish.check:
            edit.write()
        self.report.add("inventory", self._change, edit.summary)

    def _has_stale_password(self, name: str) -> bool:
        """Return whether the entry has a password that opens nothing any more."""
        entry = self.inventory.host(name) if name in self.inventory.hosts else None
        written = entry and render_variable(entry, "ansible_password", "ansible_ssh_pass")
        return written is not None and (self.refused or self.sudo_password != str(written))

    @property
    def _change(self) -> Status:
        return "would change" if self.wish.check else "changed"
