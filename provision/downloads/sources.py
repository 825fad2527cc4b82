"""Which addresses this machine fetches from for a rig.

A rig names a URL, and a rig may be hostile: only what is below an address of the operator's own
settings, or of the project's table, is fetched. Everything else is the rig's own business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from provision.errors import DeeprigError
from provision.inventory import yaml_source
from provision.inventory.hosts import Host
from provision.paths import PLAYBOOKS
from provision.templating.host_variables import render_variable

#: Where PyPI's index keeps its files (https://docs.pypi.org/api/index-api/).
PYPI_FILES = "https://files.pythonhosted.org/packages/"
#: What a path may have. Of escapes only `+`, `:` and `~`, which versions have: an escaped dot or
#: slash could lead out of a folder.
PATH = re.compile(r"/(?:[A-Za-z0-9._~+:@!,=/-]|%(?:25)?(?:2[Bb]|3[Aa]|7[Ee]))*")
LONGEST = 2000  # characters of a URL


class FetchError(DeeprigError):
    """A file that could not be fetched."""


class ForeignUrlError(FetchError):
    """A URL that is not below an address of the operator's settings."""


class Sources:
    """The addresses below which files are fetched."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._roots = [_split(address) for address in addresses]

    def check(self, url: str) -> None:
        """Raise ForeignUrlError unless the URL is a file below an address."""
        try:
            wanted = _split(url)
        except ValueError:
            raise ForeignUrlError(f"not a plain URL: {url[:LONGEST]!r}") from None
        for root in self._roots:
            folder = root.path.rstrip("/") + "/"
            is_below = wanted.path.startswith(folder) and wanted.path != folder
            if (wanted.scheme, wanted.netloc) == (root.scheme, root.netloc) and is_below:
                return
        raise ForeignUrlError(
            f"{url} is not below nvidia_repository_url, torch_index_url or download_cache_urls"
        )


def _split(url: str) -> SplitResult:
    """Return the parts of a plain URL: no user, query or fragment, no dots or escapes that lead up.

    Raises ValueError.
    """
    parts = urlsplit(url)
    port = parts.port  # raises ValueError for what is not a number
    host = parts.hostname or ""
    plain = host if port is None else f"{host}:{port}"
    is_plain = (
        len(url) <= LONGEST
        and parts.scheme in ("http", "https")
        and re.fullmatch(r"[a-z0-9.-]+", host)
        and parts.netloc.lower() == plain
        and not (parts.query or parts.fragment or url.endswith(("?", "#")))
        and PATH.fullmatch(parts.path or "/")
        and ".." not in parts.path.split("/")
    )
    if not is_plain:
        raise ValueError(url)
    # apt's URLs of a flat repository have `/./`.
    path = re.sub(r"/(\./)+", "/", parts.path)
    return parts._replace(netloc=parts.netloc.lower(), path=path)


def sources_of(host: Host) -> Sources:
    """Return the sources of a rig by its settings in the inventory. Raises DeeprigError."""
    table = yaml_source.load_yaml(PLAYBOOKS / "vars/nvidia.yml")
    addresses = [PYPI_FILES, str(table["nvidia_repository_root"])]
    addresses += [_parent(row["index_url"]) for row in table["torch_stacks"] if row["index_url"]]
    for name in ("nvidia_repository_url", "torch_index_url"):
        address = str(render_variable(host, name) or "auto")
        if address != "auto":
            addresses.append(_parent(address) if name == "torch_index_url" else address)
    further = render_variable(host, "download_cache_urls") or []
    addresses += map(str, further if isinstance(further, list) else [further])
    try:
        return Sources(addresses)
    except ValueError as error:
        raise DeeprigError(
            f"{error} is not an address to fetch from",
            advice="Write a plain URL into download_cache_urls: https://host/folder/.",
        ) from None


def _parent(address: str) -> str:
    """Return the folder of an index's address: its files are beside the pages.

    >>> _parent("https://host/whl/cu126"), _parent("http://host/simple/"), _parent("http://host")
    ('https://host/whl/', 'http://host/', 'http://host')
    """
    scheme, _, rest = address.rstrip("/").partition("://")
    return f"{scheme}://{rest.rpartition('/')[0]}/" if "/" in rest else f"{scheme}://{rest}"
