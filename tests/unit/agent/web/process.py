"""A real agent process on 127.0.0.1, without GPUs, for tests that attack its port."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bcrypt

from lab.build.host import find_free_port
from tests.unit.agent.web.certificates import Authority
from tests.unit.agent.web.server import PATIENCE_SECONDS, Client, wait_for

ROOT = Path(__file__).parents[4]
UNIT_DESCRIPTORS = 1024  # LimitNOFILE= of playbooks/templates/deeprig-agent.service.j2
BCRYPT_COST = 10  # the cost that htpasswd and docs/agent.md use


class AgentProcess:
    """`python -m agent` with the limits of its unit. tls: what a client needs, if TLS is on."""

    def __init__(
        self,
        folder: Path,
        web_config: str = "",
        tls: ssl.SSLContext | None = None,
        more: Sequence[str] = (),
    ) -> None:
        self.address = ("127.0.0.1", find_free_port())
        self.tls = tls
        self.log = folder / "stderr"
        self._clients: list[Client] = []
        flags = [
            f"--web.listen-address=127.0.0.1:{self.address[1]}",
            "--sample.interval=200ms",
            f"--path.sysfs={folder}/sys",
            f"--path.procfs={folder}/proc",
            f"--path.rootfs={folder}",
            f"--path.kernel-log={folder}/kmsg",
            *more,
        ]
        if web_config:
            (folder / "web.yml").write_text(web_config)
            flags.append(f"--web.config.file={folder}/web.yml")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", *flags],
                env=os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"},
                stderr=log,
                preexec_fn=limit_descriptors,
            )

    def connect(self, source: str = "127.0.0.1", *, handshake: bool = True) -> Client:
        """Open a connection from a loopback address; over TLS where the agent has it."""
        channel = socket.create_connection(
            self.address, timeout=PATIENCE_SECONDS, source_address=(source, 0)
        )
        if self.tls and handshake:
            channel = self.tls.wrap_socket(channel, server_hostname="localhost")
        client = Client(channel)
        self._clients.append(client)
        return client

    def is_ready(self) -> bool:
        """Whether the agent serves its first sample."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.connect().ask("/-/ready").status in (200, 401)
        except OSError:
            return False

    def resident_bytes(self) -> int:
        """The resident memory of the server process."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize()

    def descriptors(self) -> int:
        """How many descriptors the server process has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def end(self) -> None:
        for client in self._clients:
            client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def limit_descriptors() -> None:
    """Set the limit that the unit sets."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (UNIT_DESCRIPTORS, UNIT_DESCRIPTORS))


@contextmanager
def running(
    folder: Path, *, tls: bool = False, users: tuple[str, ...] = (), flags: Sequence[str] = ()
) -> Iterator[AgentProcess]:
    """Run an agent until the block ends. users: names; each has the password `right`."""
    lines: list[str] = []
    context = None
    if tls:
        authority = Authority.create(folder, "authority")
        authority.sign("rig", folder / "server.pem", folder / "server.key")
        lines += ["tls_server_config:", "  cert_file: server.pem", "  key_file: server.key"]
        context = ssl.create_default_context(cafile=str(authority.file))
    if users:
        hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(BCRYPT_COST)).decode()
        lines += ["basic_auth_users:", *(f"  {name}: {hashed}" for name in users)]
    agent = AgentProcess(folder, "".join(f"{line}\n" for line in lines), context, flags)
    try:
        wait_for(agent.is_ready, "the agent serves its first sample")
        yield agent
    finally:
        agent.end()
