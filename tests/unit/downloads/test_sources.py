"""Which URLs this machine fetches for a rig: only those below the operator's own addresses."""

from __future__ import annotations

from typing import Any

import pytest

from provision.downloads.sources import ForeignUrlError, Sources, sources_of
from provision.errors import DeeprigError
from provision.inventory.hosts import Host

SOURCES = Sources(["https://packages.example/cuda/repos", "http://wheels.example:8080/whl/"])
DIGEST_NAME = "torch-2.13.0%2Bcu126-cp312-cp312-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize(
    "url",
    [
        "https://packages.example/cuda/repos/debian12/x86_64/nvidia-open_580-1_amd64.deb",
        "https://packages.example/cuda/repos/debian12/x86_64/pool/dkms_1%3a3.3.0-1_amd64.deb",
        f"http://wheels.example:8080/whl/cu126/{DIGEST_NAME}",
        "https://PACKAGES.example/cuda/repos/x",
        "https://packages.example/cuda/repos/./libnccl2_2.30.4-1%2bcuda13.2_amd64.deb",
        "https://packages.example/cuda/repos/././a_1%7edeb12.deb",
        "https://packages.example/cuda/repos/./pool/dkms_1%253a3.3.0-1_amd64.deb",
    ],
)
def test_files_below_an_address_are_fetched(url: str) -> None:
    SOURCES.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "packages",
        "file:///etc/passwd",
        "ftp://packages.example/cuda/repos/x",
        "gopher://packages.example/cuda/repos/x",
        "https://packages.example/cuda/repos",
        "https://packages.example/cuda/repos/",
        "https://packages.example/cuda/reposx/x",
        "https://packages.example/other/x",
        "https://packages.example/cuda/repos/../../other/x",
        "https://packages.example/cuda/./repos/../other/x",
        "https://packages.example/cuda/repos/./",
        "https://packages.example/cuda/repos/%2e%2e/x",
        "https://packages.example/cuda/repos/%2Fx",
        "https://packages.example/cuda/repos/%252e%252e/x",
        "https://packages.example/cuda/repos/%25",
        "https://packages.example/cuda/repos/..%2fx",
        "https://packages.example/cuda/repos\\..\\x",
        "https://packages.example/cuda/repos/x?to=y",
        "https://packages.example/cuda/repos/x?",
        "https://packages.example/cuda/repos/x#y",
        "https://packages.example/cuda/repos/x y",
        "https://packages.example/cuda/repos/x\r\nHost: other",
        "https://packages.example/cuda/repos/x\0",
        "http://packages.example/cuda/repos/x",
        "https://packages.example:8443/cuda/repos/x",
        "https://packages.example:port/cuda/repos/x",
        "https://packages.example.other/cuda/repos/x",
        "https://other.packages.example/cuda/repos/x",
        "https://user@packages.example/cuda/repos/x",
        "https://packages.example@other/cuda/repos/x",
        "https://packages.example:443@other/cuda/repos/x",
        "https://[::1]/cuda/repos/x",
        "https://127.0.0.1/cuda/repos/x",
        "https://packages.еxample/cuda/repos/x",
        "http://wheels.example/whl/x",
        "https://packages.example/cuda/repos/" + "x" * 3000,
    ],
)
def test_every_other_url_is_refused(url: str) -> None:
    with pytest.raises(ForeignUrlError):
        SOURCES.check(url)


def host(**variables: Any) -> Host:
    return Host("rig", variables, ())


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/a.deb"),
        ({}, "https://files.pythonhosted.org/packages/0a/1b/torch-2.13.0-py3-none-any.whl"),
        ({}, f"https://download.pytorch.org/whl/cu126/{DIGEST_NAME}"),
        (
            {"nvidia_repository_url": "http://mirror.lan:8077/cuda/"},
            "http://mirror.lan:8077/cuda/a",
        ),
        ({"torch_index_url": "http://wheels.lan/simple/"}, "http://wheels.lan/files/a.whl"),
        ({"torch_index_url": "http://wheels.lan/whl/cpu"}, "http://wheels.lan/whl/cpu/a.whl"),
        ({"download_cache_urls": ["http://pypi.lan/packages"]}, "http://pypi.lan/packages/a.whl"),
    ],
)
def test_settings_of_the_operator_name_the_addresses(variables: dict[str, Any], url: str) -> None:
    sources_of(host(**variables)).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://developer.download.nvidia.com/other/a.deb",
        "http://developer.download.nvidia.com/compute/cuda/repos/a.deb",
        "http://127.0.0.1:10390/metrics",
        "http://169.254.169.254/latest/meta-data/x",
        "http://wheels.lan/private/a",
    ],
)
def test_without_settings_only_the_tables_count(url: str) -> None:
    with pytest.raises(ForeignUrlError):
        sources_of(host(torch_index_url="http://wheels.lan/whl/cpu/")).check(url)


def test_empty_index_is_pips_own() -> None:
    sources_of(host(torch_index_url="")).check("https://files.pythonhosted.org/packages/a.whl")


def test_address_that_is_not_plain_is_an_error_of_the_inventory() -> None:
    with pytest.raises(DeeprigError, match="is not an address to fetch from"):
        sources_of(host(download_cache_urls=["file:///srv/wheels"]))
