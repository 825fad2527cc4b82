"""TLS: renewed certificates, client certificates, and settings that need a restart."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.web.web_config import WebConfigFile
from tests.unit.agent.web.certificates import Authority, replace
from tests.unit.agent.web.publishing import encode_classic, publish_sample
from tests.unit.agent.web.server import Server, serve_application
from tests.unit.agent.web.test_app import make_app
from tests.unit.agent.web.test_webconfig import basic, hash_password

PLAIN = """\
tls_server_config:
  cert_file: server.pem
  key_file: server.key
"""
CLIENTS = f"{PLAIN}  client_ca_file: authority.pem\n  client_auth_type: "


class Site:
    """A folder with a web configuration file and its certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "web.yml"
        self.authority = Authority.create(folder, "authority")
        self.renew("first")

    def renew(self, name: str, certificate: str = "server.pem", key: str = "server.key") -> None:
        self.authority.sign(name, self.folder / certificate, self.folder / key)

    def write(self, content: str) -> None:
        replace(self.file, content.encode())

    def client(self, certificate: str = "", authority: Authority | None = None) -> ssl.SSLContext:
        """A client that trusts the authority, and has a certificate of it or of another one."""
        made = ssl.create_default_context(cafile=str(self.authority.file))
        if certificate:
            files = self.folder / "client.pem", self.folder / "client.key"
            (authority or self.authority).sign(certificate, *files)
            made.load_cert_chain(*files)
        return made

    @contextmanager
    def serve(self) -> Iterator[tuple[Server, Callable[[], str]]]:
        """A server, and the name in its certificate for a new client."""
        web = WebConfigFile(self.file)
        app = make_app(web=web)
        app.publish(publish_sample())
        with serve_application(app, tls=web.ssl) as server:

            def name() -> str:
                server.call(lambda: app.publish(publish_sample()))  # as after every interval
                return read_certificate_name(server.connect(tls=self.client()).socket)

            yield server, name


def read_certificate_name(channel: socket.socket) -> str:
    """The name in the certificate that a server has shown."""
    assert isinstance(channel, ssl.SSLSocket)
    certificate = channel.getpeercert()
    assert certificate
    subject = certificate["subject"]
    return str(subject[0][0][1])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_connection_uses_tls_1_3(site: Site) -> None:
    site.write(PLAIN)
    with site.serve() as (server, _):
        client = server.connect(tls=site.client())
        for _ in range(2):
            assert client.ask("/metrics").body == encode_classic()
        assert isinstance(client.socket, ssl.SSLSocket)
        assert client.socket.version() == "TLSv1.3"
        stranger = server.connect()
        stranger.send(b"GET /metrics HTTP/1.1\r\nHost: rig\r\n\r\n")
        assert b"classic" not in stranger.read_rest()


@pytest.mark.parametrize(
    ("rows", "client", "version"),
    [
        ("", ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ("  max_version: TLS12\n", ssl.TLSVersion.TLSv1_3, "TLSv1.2"),
        ("  min_version: TLS13\n", ssl.TLSVersion.TLSv1_2, None),
    ],
)
def test_tls_versions_follow_the_configuration(
    site: Site, rows: str, client: ssl.TLSVersion, version: str | None
) -> None:
    site.write(PLAIN + rows)
    most = site.client()
    most.maximum_version = client
    with site.serve() as (server, _):
        if version is None:
            with pytest.raises(ssl.SSLError):
                server.connect(tls=most)
        else:
            channel = server.connect(tls=most).socket
            assert isinstance(channel, ssl.SSLSocket)
            assert channel.version() == version


def test_renewed_certificate_is_loaded(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """No request comes in between: with an expired certificate none could."""
    site.write(PLAIN)
    with site.serve() as (server, name):
        before = server.connect(tls=site.client())
        assert before.ask("/metrics").status == 200
        assert name() == "first"
        site.renew("second")
        assert name() == "second"
        assert before.ask("/metrics").status == 200, "who was connected stays connected"
    assert caplog.text == ""


def test_incomplete_renewal_keeps_the_old_certificate(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.write(PLAIN)
    site.renew("second", "second.pem", "second.key")
    with site.serve() as (_, name):
        (site.folder / "second.pem").replace(site.folder / "server.pem")
        assert name() == name() == "first"
        (message,) = [record.getMessage() for record in caplog.records]
        assert message.startswith(f"{site.file}:2: ")
        assert message.endswith("key values mismatch; the last valid content stays in use")
        (site.folder / "second.key").replace(site.folder / "server.key")
        assert name() == "second"


def test_new_certificate_files_are_loaded_when_they_exist(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The configuration names a certificate that is written a moment later."""
    site.write(PLAIN)
    with site.serve() as (_, name):
        site.write(PLAIN.replace("server.pem", "later.pem").replace("server.key", "later.key"))
        assert name() == name() == "first"
        assert "later.pem: No such file or directory" in caplog.text
        site.renew("later", "later.pem", "later.key")
        assert name() == "later"


@pytest.mark.parametrize(
    ("kind", "without", "with_", "others"),
    [
        ("NoClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, True, False),
        ("RequireAndVerifyClientCert", False, True, False),
    ],
)
def test_client_certificates_follow_the_configuration(
    site: Site, kind: str, without: bool, with_: bool, others: bool
) -> None:
    site.write(CLIENTS + kind)
    other = Authority.create(site.folder, "other")
    with site.serve() as (server, _):

        def served(context: ssl.SSLContext) -> bool:
            try:
                return server.connect(tls=context).ask("/metrics").status == 200
            except (ssl.SSLError, ConnectionError):
                return False

        assert served(site.client()) is without
        assert served(site.client("prometheus")) is with_
        assert served(site.client("prometheus", other)) is others


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (PLAIN, "", "TLS is switched on or off only by a restart"),
        (PLAIN, f"{PLAIN}  min_version: TLS13\n", "TLS versions are changed only by a restart"),
        (PLAIN, f"{CLIENTS}RequireAndVerifyClientCert\n", "client authentication and TLS"),
    ],
)
def test_settings_that_need_a_restart_are_logged(
    site: Site, before: str, after: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of the file, such as users, applies at once."""
    site.write(before)
    with site.serve() as (server, name):
        client = server.connect(tls=site.client())
        assert client.ask("/metrics").status == 200
        site.write(f"{after}basic_auth_users:\n  ann: {hash_password('right')}\n")
        assert client.ask("/metrics").status == 401
        assert client.ask("/metrics", authorization=basic("ann", "right")).status == 200
        assert name() == "first", "still TLS"
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{site.file}: ")
    assert message in message


def test_enabling_tls_needs_a_restart(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.write("")
    with site.serve() as (server, _):
        site.write(PLAIN)
        assert server.ask("/metrics").status == 200
    assert "TLS is switched on or off only by a restart" in caplog.text


def test_changed_client_authority_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.write(f"{CLIENTS}RequireAndVerifyClientCert\n")
    with site.serve() as (server, _):
        client = server.connect(tls=site.client("prometheus"))
        assert client.ask("/metrics").status == 200
        replace(site.authority.file, Authority.create(site.folder, "new").file.read_bytes())
        assert client.ask("/metrics").status == 200
    assert "client authentication" in caplog.text


def test_incomplete_handshakes_do_not_delay_others(site: Site) -> None:
    site.write(PLAIN)
    with site.serve() as (server, name):
        for beginning in (b"", b"\x16\x03\x01\x02\x00\x01\x00"):
            for _ in range(20):
                server.connect().send(beginning)
        assert name() == "first"


def test_renegotiation_is_disabled(site: Site) -> None:
    """OpenSSL 3 refuses TLS 1.2's renegotiation by default; older ones only with this option."""
    site.write(PLAIN)
    context = WebConfigFile(site.file).ssl
    assert context
    assert context.options & ssl.OP_NO_RENEGOTIATION
