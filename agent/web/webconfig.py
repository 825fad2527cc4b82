"""`--web.config.file`: TLS and basic authentication in the format of Prometheus' exporter-toolkit.

The file is looked at again while the agent runs: new users, headers and certificates hold from the
next request or connection on, and a file that has become wrong leaves what held before. The rest of
tls_server_config holds from a restart on; until then a change of it is said to wait.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.configuration.yamlfile import Source
from agent.errors import ConfigurationError
from agent.readings.pcie import raise_exhausted

KEYS = ("tls_server_config", "basic_auth_users", "http_server_config")
TLS_KEYS = ("cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version",
            "max_version")  # fmt: skip
TLS_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
HEADERS = ("Content-Security-Policy", "Strict-Transport-Security", "X-Content-Type-Options",
           "X-Frame-Options", "X-XSS-Protection")  # fmt: skip
BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True)
class Tls:
    """tls_server_config. where: file and line of cert_file, for errors."""

    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode
    client_ca_file: Path | None
    min_version: ssl.TLSVersion
    max_version: ssl.TLSVersion
    where: str = field(default="", compare=False)

    def files(self) -> list[Path]:
        """What the context is made of."""
        return [file for file in (self.cert_file, self.key_file, self.client_ca_file) if file]


@dataclass(frozen=True)
class WebConfig:
    """What the file says. users: bcrypt hashes by name; headers: for every response."""

    tls: Tls | None = None
    users: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def load(file: Path) -> WebConfig:
    """Read the file. Raises ConfigurationError with its line."""
    source = Source.read(file)
    document = source.document
    source.check_keys(document, KEYS)
    users = document.get("basic_auth_users") or {}
    if not isinstance(users, Mapping):
        raise source.error("basic_auth_users", "'basic_auth_users' must map names to bcrypt hashes")
    for name, hashed in users.items():
        if not isinstance(hashed, str) or not BCRYPT.fullmatch(hashed):
            raise source.error(str(name), f"basic_auth_users: {name} has no bcrypt hash")
    server = document.get("http_server_config") or {}
    source.check_keys(server, ("http2", "headers"), "http_server_config")
    headers = server.get("headers") or {}
    source.check_keys(headers, HEADERS, "headers")
    for name, value in headers.items():
        if not isinstance(value, str) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise source.error(name, f"{name}: {value!r} is no header's text")
    tls = document.get("tls_server_config")
    return WebConfig(
        tls=_tls(tls, source) if tls else None,
        users={str(name): hashed.encode() for name, hashed in users.items()},
        headers=headers,
    )


def _tls(document: Any, source: Source) -> Tls:
    source.check_keys(document, TLS_KEYS, "tls_server_config")
    for key, value in document.items():
        if value is not None and not isinstance(value, str):
            raise source.error(key, f"{key}: {value!r} is no text")
    for key in ("cert_file", "key_file"):
        if not document.get(key):
            raise source.error("tls_server_config", f"tls_server_config: {key} is missing")
    auth = document.get("client_auth_type") or "NoClientCert"
    least, most = document.get("min_version") or "TLS12", document.get("max_version") or "TLS13"
    for key, value, known in (
        ("client_auth_type", auth, CLIENT_AUTH),
        ("min_version", least, TLS_VERSIONS),
        ("max_version", most, TLS_VERSIONS),
    ):
        if value not in known:
            raise source.error(key, f"{key}: {value!r} is none of {', '.join(known)}")
    if TLS_VERSIONS[least] > TLS_VERSIONS[most]:
        raise source.error("min_version", f"min_version: {least} is above max_version, {most}")
    signers = document.get("client_ca_file")
    if CLIENT_AUTH[auth] != ssl.CERT_NONE and not signers:
        raise source.error("client_auth_type", f"client_auth_type {auth} needs client_ca_file")
    folder = source.file.parent  # as in the toolkit, a relative path begins there
    return Tls(
        cert_file=folder / document["cert_file"],
        key_file=folder / document["key_file"],
        client_auth=CLIENT_AUTH[auth],
        client_ca_file=folder / signers if signers else None,
        min_version=TLS_VERSIONS[least],
        max_version=TLS_VERSIONS[most],
        where=str(source.error("cert_file", "")).removesuffix(": "),
    )


def context(tls: Tls) -> ssl.SSLContext:
    """The server's side of TLS. Raises ConfigurationError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version, made.maximum_version = tls.min_version, tls.max_version
    made.options |= ssl.OP_NO_RENEGOTIATION  # TLS 1.2: a client could ask for it without end
    made.set_alpn_protocols(["http/1.1"])
    for file in tls.files():  # ssl's own errors do not say which it was
        try:
            file.read_bytes()
        except OSError as error:
            raise_exhausted(error)
            raise ConfigurationError(f"{tls.where}: {file}: {error.strerror}") from None
    load_certificate(made, tls)
    if tls.client_ca_file:
        try:
            made.load_verify_locations(tls.client_ca_file)
        except ssl.SSLError as error:
            raise ConfigurationError(f"{tls.where}: {tls.client_ca_file}: {words(error)}") from None
    made.verify_mode = tls.client_auth
    return made


def load_certificate(made: ssl.SSLContext, tls: Tls) -> None:
    """Have a context use certificate and key from now on. Raises ConfigurationError."""

    def password() -> str:  # else OpenSSL would ask the terminal for it
        raise ConfigurationError(f"{tls.where}: {tls.key_file} is encrypted")

    try:
        made.load_cert_chain(tls.cert_file, tls.key_file, password)
    except (OSError, ssl.SSLError) as error:
        raise_exhausted(error)
        pair = f"{tls.cert_file} and {tls.key_file}"
        raise ConfigurationError(f"{tls.where}: {pair}: {words(error)}") from None


def words(error: OSError) -> str:
    """What OpenSSL calls it, such as KEY_VALUES_MISMATCH, in small letters."""
    reason = getattr(error, "reason", None) or error.strerror or "no PEM file"
    return str(reason).replace("_", " ").lower()


class Watched:
    """The file as it is now: looked at again when it, or a certificate, changed."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.config = load(file) if file else WebConfig()
        self.ssl = context(self.config.tls) if self.config.tls else None
        self._authority = authority(self.config.tls)
        self._said: str | None = None
        self._watched = self._files(self.config)
        self._stamps = self._stamp()

    def refresh(self) -> str | None:
        """Take changes over; what is wrong with them, if anything is. Says the same only once."""
        stamps = self._stamp()
        if self._file is None or stamps == self._stamps:
            return None
        try:
            problem = self._take_over(self._file)
        except OSError:  # no descriptor is left: read it the next time
            return None
        self._stamps = stamps
        before, self._said = self._said, problem
        return self._said if self._said != before else None

    def _take_over(self, file: Path) -> str | None:
        try:
            config = load(file)
            self._watched = self._files(config)  # other ones are looked at again the next time
            if config.tls is not None and self.ssl is not None:
                context(config.tls)  # all files fit before the connections to come use them
                load_certificate(self.ssl, config.tls)
        except ConfigurationError as error:
            return str(error)
        waits = self._waits(config.tls)
        self.config = replace(config, tls=self.config.tls)
        return f"{file}: {waits} by a restart" if waits else None

    def _waits(self, new: Tls | None) -> str:
        """What asyncio's servers can't take over while they listen."""
        old = self.config.tls
        if new is None or old is None:
            return "" if new is old else "TLS is switched on or off only"
        same = replace(new, cert_file=old.cert_file, key_file=old.key_file) == old
        if same and authority(new) == self._authority:
            return ""
        return "client authentication and TLS versions are changed only"

    def _files(self, config: WebConfig) -> list[Path]:
        own = [self._file] if self._file else []
        return own + (config.tls.files() if config.tls else [])

    def _stamp(self) -> list[tuple[str, int, int]]:
        found = []
        for file in self._watched:
            try:
                status = file.stat()
            except OSError:
                found.append((str(file), 0, 0))
            else:
                found.append((str(file), status.st_mtime_ns, status.st_ino))
        return found


def authority(tls: Tls | None) -> bytes:
    """What is in client_ca_file; nothing where there is none."""
    return tls.client_ca_file.read_bytes() if tls and tls.client_ca_file else b""
