"""Fetch a file by https, http or from the rig itself (file://), as Ansible's get_url does.

Not here: `url_username`, `url_password`, `client_cert`, `use_gssapi`, `decompress`, `tmp_dest`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from provision.remote.files import (
    ATTRIBUTES,
    apply_attributes,
    is_file,
    is_folder,
    put_content,
    read_bytes,
)
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modules.stat import attributes_of, checksum
from provision.remote.options import Option, normalize

OPTIONS = {
    "url": Option(required=True),
    "dest": Option("path", required=True),
    "checksum": Option(default=""),
    "force": Option("bool", default=False),
    "timeout": Option("int", default=10),
    "headers": Option("dict"),
    "backup": Option("bool", default=False),
    "validate_certs": Option("bool", default=True),
    "use_proxy": Option("bool", default=True),
    "http_agent": Option(default="deeprig"),
    **ATTRIBUTES,
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: url, dest, status_code, checksum_dest, checksum_src, backup_file, msg."""
    url, dest = args["url"], os.path.expanduser(args["dest"])
    into_folder = is_folder(dest)
    if into_folder:
        name = os.path.basename(urllib.parse.urlparse(url).path) or "index.html"
        dest = os.path.join(dest, name)
    result: Result = {"changed": False, "url": url, "dest": dest}
    algorithm, expected = wanted_checksum(args)
    there = is_file(dest)
    # A folder as dest means, to Ansible, that the file is fetched every time.
    force = args["force"] or (into_folder and not expected)
    if there and not force:
        same = not expected or checksum(dest, algorithm) == expected
        if same:
            result["changed"] = apply_attributes(host, dest, args)
            return {**result, **attributes_of(dest), "msg": "file already exists"}
    if host.check and not (there and force):
        # There is none, or a wrong one: no need to fetch it to know.
        return {**result, "changed": True}
    content, status = fetch(args)
    if expected:
        digest = hashlib.new(algorithm, content).hexdigest()
        if digest != expected:
            raise ModuleFailure(
                f"what {url} gave is not what is expected: its {algorithm} is {digest}, not "
                f"{expected}; the file was not put in place",
                **result,
                checksum_src=digest,
            )
    before = read_bytes(dest) if there else None
    result.update(put_content(host, dest, content, args), status_code=status)
    result.pop("diff", None)
    result["checksum_src"] = hashlib.sha1(content).hexdigest()
    result["msg"] = f"OK ({len(content)} bytes)"
    result["checksum_dest"] = hashlib.sha1(before).hexdigest() if before is not None else None
    result.update(attributes_of(dest))
    return result


def wanted_checksum(args: dict[str, Any]) -> tuple[str, str]:
    """Return the algorithm and the hexadecimal digest, which may come from a URL."""
    text = args["checksum"]
    if not text:
        return "", ""
    algorithm, _, expected = text.partition(":")
    if not expected or algorithm not in hashlib.algorithms_available:
        raise ModuleFailure(f"checksum must be like sha256:<digest or URL of a list>, not '{text}'")
    expected = expected.strip()
    if "://" in expected:
        expected = _from_list(expected, args)
    if not re.fullmatch(r"[0-9a-fA-F]+", expected):
        raise ModuleFailure(f"'{expected}' is not a digest in hexadecimal")
    return algorithm, expected.lower()


def _from_list(url: str, args: dict[str, Any]) -> str:
    name = os.path.basename(urllib.parse.urlparse(args["url"]).path)
    lines = fetch({**args, "url": url})[0].decode("utf-8", "replace").splitlines()
    words = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    for line in words:
        if len(line) >= 2 and os.path.basename(line[-1].lstrip("*")) == name:
            return line[0]
    if len(words) == 1 and len(words[0]) == 1:
        return words[0][0]
    raise ModuleFailure(f"the list of checksums at {url} has no line for {name}")


def fetch(args: dict[str, Any]) -> tuple[bytes, int | None]:
    """Return a URL's content and HTTP status. Raises ModuleFailure with URL and reason."""
    import ssl

    url = args["url"]
    if url.startswith("file:"):
        return _local(url), None
    try:
        request = urllib.request.Request(url, headers={"User-Agent": args["http_agent"]})
        for name, value in (args["headers"] or {}).items():
            request.add_header(name, str(value))
        context = ssl.create_default_context()
        if not args["validate_certs"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        handlers: list[Any] = [urllib.request.HTTPSHandler(context=context)]
        if not args["use_proxy"]:
            handlers.append(urllib.request.ProxyHandler({}))
        opener = urllib.request.build_opener(*handlers)
        with opener.open(request, timeout=args["timeout"]) as answer:
            return answer.read(), getattr(answer, "status", None)
    except urllib.error.HTTPError as error:
        raise ModuleFailure(
            f"{url} answered {error.code} {error.reason}", url=url, status_code=error.code
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ModuleFailure(f"could not fetch {url}: {reason}", url=url) from None


def _local(url: str) -> bytes:
    """Return the content of a file on the rig."""
    path = urllib.request.url2pathname(urllib.parse.urlparse(url).path)
    content = read_bytes(path, reading=True)
    if content is None:
        raise ModuleFailure(f"could not fetch {url}: {path} does not exist", url=url)
    return content


def download(url: str, suffix: str = "") -> str:
    """Fetch a URL into a scratch file; its path, which the caller deletes."""
    content, _ = fetch(normalize("get_url", OPTIONS, {"url": url, "dest": "-", "timeout": 60}))
    handle, path = tempfile.mkstemp(prefix="deeprig-", suffix=suffix)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    os.chmod(path, 0o644)  # apt reads it as its own user
    return path
