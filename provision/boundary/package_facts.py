"""The facts of packages, kernels and modules, as types: provision/remote/facts/apt_state.py."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

from provision.boundary.fact_types import Count, Number, Package, Path, Text, Texts, Version


class DriverPackage(TypedDict):
    """A package of the driver, its state as dpkg has it, and from where it came."""

    name: Package
    version: Version | None
    state: Text
    origin: Annotated[str, Meta(pattern=r"\A(vendor|distribution|other|local)\Z")]


class DriverAlternative(TypedDict):
    """A group of alternatives of the driver. by_hand: a person chose its value."""

    name: Annotated[str, Meta(pattern=r"\A(glx|nvidia)\Z")]
    by_hand: bool
    value: Text


class MetaHeaders(TypedDict):
    """A package that brings headers with each update of a kernel."""

    package: Package
    version: Version
    installed: bool


class KernelState(TypedDict):
    """A kernel that may boot or is installed.

    nvidia_modules: the version of its nvidia module. build_error: why DKMS built none.
    """

    release: Text
    bootable: bool
    default: bool
    headers: bool
    package: Package | None
    meta_headers: Annotated[list[MetaHeaders], Meta(max_length=64)]
    nvidia_modules: Text | None
    build_error: Text


class ModuleSetting(TypedDict):
    """A line that keeps the driver from its GPUs. line: 0 for the running kernel's command line.

    parameters: those of a command line that must go, of a list each by itself.
    """

    file: Path
    line: Count
    text: Text
    module: Text
    kind: Annotated[str, Meta(pattern=r"\A[a-z ]{1,32}\Z")]
    parameters: Texts


class Modules(TypedDict):
    """Settings of the kernel's modules."""

    settings: Annotated[list[ModuleSetting], Meta(max_length=4096)]


class PackageSource(TypedDict):
    """A line or stanza of apt's sources."""

    file: Path
    line: Count
    enabled: bool
    types: Texts
    uris: Texts
    suites: Texts
    components: Texts
    options: dict[Text, Text]
    signed_by: Text


class Pin(TypedDict):
    """A pin of apt's preferences."""

    file: Path
    packages: Texts
    pin: Text
    priority: Number


class UnfinishedPackage(TypedDict):
    """A package that dpkg did not finish."""

    package: Package
    version: Version | None
    state: Text


class PackageLock(TypedDict):
    """The process that holds a lock of apt's or dpkg's."""

    path: Path
    pid: Count
    program: Text


class AptState(TypedDict):
    """apt and dpkg. lists_age_seconds: None where lists are missing; lists_missing: which."""

    sources: Annotated[list[PackageSource], Meta(max_length=4096)]
    lists_age_seconds: Count | None
    lists_missing: Texts
    pins: Annotated[list[Pin], Meta(max_length=4096)]
    holds: Annotated[list[Package], Meta(max_length=65536)]
    unfinished: Annotated[list[UnfinishedPackage], Meta(max_length=65536)]
    interrupted: bool
    lock: PackageLock | None
