"""A Fabric connection to a host of the inventory, with Fabric's traps closed.

Host keys are checked at every hop, ssh-agent is never forwarded, TCP_NODELAY is set, and every wait
has a deadline (facts in design.md).
"""

from __future__ import annotations

import functools
import logging
import re
import socket
import time
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection
from paramiko.common import OPEN_FAILED_CONNECT_FAILED, OPEN_FAILED_RESOURCE_SHORTAGE

from provision.boundary.text import clean
from provision.errors import OtherSystemError, RefusedError, UnreachableError
from provision.inventory.hosts import Host
from provision.ssh.host_keys import (
    HOST_KEY,
    Ask,
    AskAboutUnknown,
    changed_key_error,
    other_rig_error,
    parse_host_key,
    prompt_operator,
)
from provision.ssh.transport import Channel
from provision.templating.host_variables import render_variable

# Paramiko logs the tracebacks of its threads, which Python prints where no logging is set up.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

CONNECT_TIMEOUT = 10.0  # seconds to a TCP connection; also to the SSH banner and to a login
TIMEOUTS = {"banner_timeout": CONNECT_TIMEOUT, "auth_timeout": CONNECT_TIMEOUT}
#: SSH servers of other systems (the software version of RFC 4253, 4.2), and their names.
OTHER_SYSTEMS = (
    ("for_windows|winsshd|windows|bitvise|weonlydo", "Windows"),
    ("rosssh", "RouterOS"),
    ("cisco", "a Cisco system"),
)
KEEPALIVE = 10  # seconds between keepalives of an idle connection
CHANNEL_TIMEOUT = 15.0  # seconds to open a channel: Paramiko's own default is an hour
FIRST_PAUSE = 0.02  # seconds before a refused channel is requested again; doubled each time
LONGEST_PAUSE = 1.0  # seconds


class StrictConnection(Connection):  # type: ignore[misc]
    """A Fabric connection whose host key is checked, as are those of its jump hosts.

    Fabric accepts any key of any host, jump hosts included, and forwards ssh-agent where ssh_config
    requests it: a hostile rig could then log in wherever the operator can.
    """

    # Fabric stores only what the class declares on the connection itself, not in its config.
    known_hosts: Path = Path()
    _policy: AskAboutUnknown | None = None

    def __init__(
        self, host: str, policy: AskAboutUnknown, recorded_key: str = "", **options: Any
    ) -> None:
        """`recorded_key`: the only key that the host may show, from the inventory."""
        self._policy = policy  # jump hosts are made by Fabric's own __init__
        self.known_hosts = policy.known_hosts
        super().__init__(host, forward_agent=False, **options)
        if recorded_key:
            key = parse_host_key(recorded_key)
            name = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
            self.client.get_host_keys().add(name, key.get_name(), key)
        else:
            self.client.load_system_host_keys()
            if self.known_hosts.is_file():
                self.client.load_system_host_keys(str(self.known_hosts))
        self.client.set_missing_host_key_policy(policy)

    def get_gateway(self) -> Any:
        """Return the jump host of ssh_config (ProxyJump), its ProxyCommand, or nothing."""
        jumps = self.ssh_config.get("proxyjump", "none")
        if jumps.lower() == "none":
            configured = self.config.gateway
            command = self.ssh_config.get("proxycommand")
            return command or (configured if isinstance(configured, str) else None)
        gateway: StrictConnection | None = None
        for hop in jumps.split(","):
            if self.derive_shorthand(hop)["host"] in (self.host, self.original_host):
                return None  # a pattern of ssh_config that names the jump host itself, too
            assert self._policy is not None
            # No password: what is meant for the rig is not a jump host's.
            gateway = StrictConnection(
                hop,
                self._policy,
                config=self.config.clone(),
                connect_timeout=CONNECT_TIMEOUT,
                connect_kwargs=dict(TIMEOUTS),
                gateway=gateway or False,
            )
        return gateway

    def close(self) -> None:
        """Close the connection, also while it is being made, which Fabric does not."""
        super().close()
        self.client.close()
        if isinstance(self.gateway, StrictConnection):
            self.gateway.close()


class RigConnection(StrictConnection):
    """Connects as the inventory's `ansible_*` variables configure it."""

    password: str | None = None
    _is_recorded: bool = False

    def __init__(
        self,
        host: Host,
        config: Config | None = None,
        accept_new: bool = False,
        ask: Ask = prompt_operator,
    ) -> None:
        variable = functools.partial(render_variable, host)
        keywords: dict[str, Any] = dict(TIMEOUTS)
        password = variable("ansible_password", "ansible_ssh_pass")
        if password is not None:
            # A password that was given is what is meant: trying keys first may use up the attempts.
            keywords.update(password=str(password), look_for_keys=False, allow_agent=False)
        key = variable("ansible_ssh_private_key_file", "ansible_private_key_file")
        if key:
            keywords.update(key_filename=str(Path(key).expanduser()), look_for_keys=False)
        port = variable("ansible_port", "ansible_ssh_port")
        known_hosts = variable("ansible_ssh_known_hosts_file") or "~/.ssh/known_hosts"
        super().__init__(
            str(variable("ansible_host") or host.name),
            AskAboutUnknown(Path(str(known_hosts)).expanduser(), accept_new, ask),
            str(variable(HOST_KEY) or ""),
            user=variable("ansible_user", "ansible_ssh_user"),
            port=int(port) if port else None,
            config=config,
            connect_timeout=float(variable("ansible_timeout") or CONNECT_TIMEOUT),
            connect_kwargs={**(dict(config.connect_kwargs) if config else {}), **keywords},
        )
        self.original_host = host.name  # what -H named, not the address
        self.password = None if password is None else str(password)
        self._is_recorded = bool(variable(HOST_KEY))

    def open(self) -> Any:
        """Connect. Raises UnreachableError with the reason and advice."""
        if self.is_connected:
            return None
        where = f"{self.host}:{self.port}"
        self._look_for_keys()
        try:
            result = super().open()
        except UnreachableError:
            raise
        except paramiko.BadHostKeyException as error:
            if self._is_recorded and error.hostname == self.host:
                raise other_rig_error(error, str(self.original_host)) from None
            raise changed_key_error(error, self.known_hosts) from None
        except paramiko.PasswordRequiredException:
            raise UnreachableError(
                "the private key has a passphrase",
                advice="Load it into ssh-agent, or run with --prompt-for-passphrase.",
            ) from None
        except paramiko.AuthenticationException:
            offered = "the password" if self.password is not None else "none of the keys"
            verdict = "was not accepted" if self.password is not None else "was accepted"
            raise self._refused(f"{offered} {verdict}") from None
        except socket.gaierror:
            raise UnreachableError(
                f"the name '{self.host}' can't be resolved",
                advice="Set ansible_host to the rig's address in the inventory.",
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            if "No authentication methods" in str(error):
                raise self._refused("neither a key nor a password is available") from None
            raise UnreachableError(
                f"can't connect to {where}: {_reason(error)}",
                advice="Is the rig on, is this its address, does sshd run? DHCP may have given it "
                "another one: look for its MAC address in the router.",
            ) from None
        transport = self.client.get_transport()
        other = find_other_system(str(self.original_host), str(transport.remote_version))
        if other is not None:
            self.close()
            raise other
        if isinstance(transport.sock, socket.socket):  # and no jump host's channel
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.channel_timeout = CHANNEL_TIMEOUT
        return result

    def open_channel(self, silence: float) -> Channel:
        """Connect where necessary and open a channel (see Transport). Raises UnreachableError."""
        self.open()
        self.transport.set_keepalive(KEEPALIVE)
        deadline, pause = time.monotonic() + CHANNEL_TIMEOUT, FIRST_PAUSE
        while True:
            try:
                channel: paramiko.Channel = self.transport.open_session(timeout=CHANNEL_TIMEOUT)
            except (paramiko.SSHException, EOFError, OSError) as error:
                if not self._may_succeed_later(error) or time.monotonic() + pause > deadline:
                    raise silent_login_error(str(self.host), error) from None
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                channel.settimeout(silence)
                return channel

    def _may_succeed_later(self, error: Exception) -> bool:
        """Return whether sshd refused a channel only because it has too many sessions now.

        Commands that have ended count until sshd has reaped their processes, so on a busy rig a few
        commands one after another can reach MaxSessions.
        """
        if not self.transport.is_active():
            return False
        if isinstance(error, paramiko.ChannelException):
            return error.code in (OPEN_FAILED_CONNECT_FAILED, OPEN_FAILED_RESOURCE_SHORTAGE)
        # Paramiko gives the server's reason to one only of several threads that were refused.
        return type(error) is paramiko.SSHException and "Unable to open channel" in str(error)

    def _look_for_keys(self) -> None:
        """Check that named key files exist on this machine. Raises UnreachableError."""
        named = self.connect_kwargs.get("key_filename") or ()
        for path in [named] if isinstance(named, str) else named:
            if not Path(path).expanduser().is_file():
                raise UnreachableError(
                    f"the key file {path} does not exist",
                    advice="Look at -i, and at ansible_ssh_private_key_file in the inventory.",
                )

    def _refused(self, why: str) -> RefusedError:
        return RefusedError(
            f"{why} for user '{self.user}' at {self.host}:{self.port}",
            advice="Set ansible_user and ansible_password (or a key) for this host in the "
            "inventory, or run with --prompt-for-login-password.",
        )


def find_other_system(host: str, banner: str) -> OtherSystemError | None:
    """Return the error of a host that does not run Linux, by its SSH server's identification.

    >>> find_other_system("attic", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3") is None
    True
    """
    server = clean(banner.removeprefix("SSH-2.0-"))
    system = next(
        (name for pattern, name in OTHER_SYSTEMS if re.search(pattern, server, re.IGNORECASE)), None
    )
    if system is None:
        return None
    return OtherSystemError(
        f"{host} runs {system}, not Linux: its SSH server is {server}",
        advice="Install Debian 12 or Ubuntu 24.04 on it first, or check the address.",
    )


def silent_login_error(host: str, error: Exception) -> UnreachableError:
    """Return the error of a rig that accepts the login and then starts nothing."""
    return UnreachableError(
        f"{host} accepted the login but did not start a command: {error or 'no answer'}",
        advice="Look at the rig's own console: it may be out of memory or disk space, or "
        "MaxSessions may be too low in its sshd_config.",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        causes = {getattr(cause, "strerror", None) or str(cause) for cause in error.errors.values()}
        return ", ".join(sorted(causes)).lower()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if "No existing session" in str(error) or "protocol banner" in str(error):
        return "it takes the connection, but does not answer as an SSH server does"
    return str(error) or type(error).__name__
