"""`--web.config.file`: TLS and basic authentication in the format of Prometheus' exporter-toolkit.

The agent reads the file again when it changes: new users, headers and certificates are valid from
the next request or connection on. If the file becomes invalid, the last valid content stays in use.
Other changes of tls_server_config need a restart; a log message reports that.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.configuration.yaml_file import YamlFile
from agent.errors import ConfigurationError
from agent.readings.pcie import raise_exhausted

KEYS = ("tls_server_config", "basic_auth_users", "http_server_config")
TLS_KEYS = (
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "min_version",
    "max_version",
)
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
HEADERS = (
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)
BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True)
class TlsConfig:
    """tls_server_config. where: file and line of cert_file, for errors."""

    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode
    client_ca_file: Path | None
    min_version: ssl.TLSVersion
    max_version: ssl.TLSVersion
    where: str = field(default="", compare=False)

    def list_files(self) -> list[Path]:
        """Return the certificate, the key and the authority, if any."""
        return [file for file in (self.cert_file, self.key_file, self.client_ca_file) if file]


@dataclass(frozen=True)
class WebConfig:
    """The content of the file. users: bcrypt hashes by name; headers: added to every answer."""

    tls: TlsConfig | None = None
    users: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def load_web_config(file: Path) -> WebConfig:
    """Read the file. Raises ConfigurationError with file and line."""
    source = YamlFile.read(file)
    document = source.document
    source.check_keys(document, KEYS)
    users = document.get("basic_auth_users") or {}
    if not isinstance(users, Mapping):
        raise source.error("basic_auth_users", "'basic_auth_users' must map names to bcrypt hashes")
    for name, hashed in users.items():
        if not isinstance(hashed, str) or not BCRYPT.fullmatch(hashed):
            raise source.error(str(name), f"basic_auth_users: {name}: expected a bcrypt hash")
    server = document.get("http_server_config") or {}
    source.check_keys(server, ("http2", "headers"), "http_server_config")
    headers = server.get("headers") or {}
    source.check_keys(headers, HEADERS, "headers")
    for name, value in headers.items():
        if not isinstance(value, str) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise source.error(name, f"{name}: {value!r} is not valid in a header")
    tls = document.get("tls_server_config")
    return WebConfig(
        tls=_parse_tls(tls, source) if tls else None,
        users={str(name): hashed.encode() for name, hashed in users.items()},
        headers=headers,
    )


def _parse_tls(document: Any, source: YamlFile) -> TlsConfig:
    source.check_keys(document, TLS_KEYS, "tls_server_config")
    for key, value in document.items():
        if value is not None and not isinstance(value, str):
            raise source.error(key, f"{key}: expected a text, got {value!r}")
    for key in ("cert_file", "key_file"):
        if not document.get(key):
            raise source.error("tls_server_config", f"tls_server_config: {key} is missing")
    auth = document.get("client_auth_type") or "NoClientCert"
    least, most = document.get("min_version") or "TLS12", document.get("max_version") or "TLS13"
    for key, value, allowed in (
        ("client_auth_type", auth, CLIENT_AUTH),
        ("min_version", least, TLS_VERSIONS),
        ("max_version", most, TLS_VERSIONS),
    ):
        if value not in allowed:
            raise source.error(key, f"{key}: expected one of {', '.join(allowed)}, got {value!r}")
    if TLS_VERSIONS[least] > TLS_VERSIONS[most]:
        raise source.error("min_version", f"min_version: {least} is above max_version, {most}")
    authority = document.get("client_ca_file")
    if CLIENT_AUTH[auth] != ssl.CERT_NONE and not authority:
        raise source.error("client_auth_type", f"client_auth_type {auth} needs client_ca_file")
    folder = source.file.parent  # relative paths begin there, as in the toolkit
    return TlsConfig(
        cert_file=folder / document["cert_file"],
        key_file=folder / document["key_file"],
        client_auth=CLIENT_AUTH[auth],
        client_ca_file=folder / authority if authority else None,
        min_version=TLS_VERSIONS[least],
        max_version=TLS_VERSIONS[most],
        where=str(source.error("cert_file", "")).removesuffix(": "),
    )


def create_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return the server's TLS context. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = tls.min_version, tls.max_version
    context.options |= ssl.OP_NO_RENEGOTIATION  # TLS 1.2: a client could ask for it without end
    context.set_alpn_protocols(["http/1.1"])
    for file in tls.list_files():  # errors of the ssl module do not name the file
        try:
            file.read_bytes()
        except OSError as error:
            raise_exhausted(error)
            raise ConfigurationError(f"{tls.where}: {file}: {error.strerror}") from None
    load_certificate(context, tls)
    if tls.client_ca_file:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except ssl.SSLError as error:
            reason = format_reason(error)
            raise ConfigurationError(f"{tls.where}: {tls.client_ca_file}: {reason}") from None
    context.verify_mode = tls.client_auth
    return context


def load_certificate(context: ssl.SSLContext, tls: TlsConfig) -> None:
    """Load certificate and key into a context. Raises ConfigurationError."""

    def refuse_password() -> str:  # without it OpenSSL asks on the terminal
        raise ConfigurationError(f"{tls.where}: {tls.key_file} is encrypted")

    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, refuse_password)
    except (OSError, ssl.SSLError) as error:
        raise_exhausted(error)
        pair = f"{tls.cert_file} and {tls.key_file}"
        raise ConfigurationError(f"{tls.where}: {pair}: {format_reason(error)}") from None


def format_reason(error: OSError) -> str:
    """Return OpenSSL's reason, such as KEY_VALUES_MISMATCH, in lower case."""
    reason = getattr(error, "reason", None) or error.strerror or "not a PEM file"
    return str(reason).replace("_", " ").lower()


class WebConfigFile:
    """The file, and the files that it names: read again when one of them changes."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.config = load_web_config(file) if file else WebConfig()
        self.ssl = create_context(self.config.tls) if self.config.tls else None
        self._authority = read_authority(self.config.tls)
        self._last_problem: str | None = None
        self._watched = self._list_files(self.config)
        self._stamps = self._read_stamps()

    def refresh(self) -> str | None:
        """Apply changes; return the problem with them, unless it was returned before."""
        stamps = self._read_stamps()
        if self._file is None or stamps == self._stamps:
            return None
        try:
            problem = self._apply(self._file)
        except OSError:  # no descriptor is left: try again the next time
            return None
        self._stamps = stamps
        before, self._last_problem = self._last_problem, problem
        return problem if problem != before else None

    def _apply(self, file: Path) -> str | None:
        try:
            config = load_web_config(file)
            self._watched = self._list_files(config)
            if config.tls is not None and self.ssl is not None:
                create_context(config.tls)  # check all files before connections use them
                load_certificate(self.ssl, config.tls)
        except ConfigurationError as error:
            return str(error)
        self.config = replace(config, tls=self.config.tls)
        change = self._describe_pending(config.tls)
        return f"{file}: {change} by a restart" if change else None

    def _describe_pending(self, new: TlsConfig | None) -> str:
        """Return what a listening server cannot change; empty if nothing of it changed."""
        old = self.config.tls
        if new is None or old is None:
            return "" if new is old else "TLS is switched on or off only"
        is_same = replace(new, cert_file=old.cert_file, key_file=old.key_file) == old
        if is_same and read_authority(new) == self._authority:
            return ""
        return "client authentication and TLS versions are changed only"

    def _list_files(self, config: WebConfig) -> list[Path]:
        files = [self._file] if self._file else []
        return files + (config.tls.list_files() if config.tls else [])

    def _read_stamps(self) -> list[tuple[str, int, int]]:
        stamps = []
        for file in self._watched:
            try:
                status = file.stat()
            except OSError:
                stamps.append((str(file), 0, 0))
            else:
                stamps.append((str(file), status.st_mtime_ns, status.st_ino))
        return stamps


def read_authority(tls: TlsConfig | None) -> bytes:
    """Return the content of client_ca_file; empty without one."""
    return tls.client_ca_file.read_bytes() if tls and tls.client_ca_file else b""
