"""Read vendor/packages.yml: which package is built how, and which index of a repository has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.build import host

TABLE = Path(__file__).parent / "vendor/packages.yml"
#: The keys of a row that become fields of the control file.
RELATIONS = ("source", "depends", "recommends", "conflicts", "provides")
#: What the packages of a driver are built from, unless their row names another source package.
DRIVER_SOURCE = {"source": "nvidia-graphics-drivers"}
#: The names of the metapackages of kernels end with it.
META = {"debian": "amd64", "ubuntu": "generic"}


@dataclass(frozen=True)
class PackageRow:
    """A package to build: its row with every placeholder filled, and the values for its files."""

    row: dict[str, str]
    values: dict[str, str]

    @property
    def relations(self) -> dict[str, str]:
        """The fields of the control file that name other packages."""
        fields = {key.title(): self.row[key] for key in RELATIONS if key in self.row}
        if "conflicts" in self.row:
            fields["Replaces"] = self.row["conflicts"]
        return fields


def load_table(release: str = "") -> dict[str, Any]:
    """Return the table of a release by its codename; what it does not have is the same in all."""
    table: dict[str, Any] = yaml.safe_load(TABLE.read_text())
    return {**table, **table["releases"].get(release, {})}


def list_vendor_rows(table: dict[str, Any]) -> Iterator[PackageRow]:
    """Yield the packages of the vendor's repository, those of an older driver first."""
    branches = set()
    for driver in table["drivers"]:
        branch = int(driver["v"].split(".")[0])
        values = {**table["vendor"], **driver, "branch": branch, "after": branch + 1}
        rows = list(table["each_driver"])
        if branch <= table["suffixed_until"]:
            rows += table["each_suffixed_driver"]
        if branch not in branches:
            rows += table["each_branch"]
        branches.add(branch)
        yield from (fill_row({**DRIVER_SOURCE, **row}, values) for row in rows)
    for group, rows in (
        ("toolkits", table["each_toolkit"]),
        ("containers", table["each_container"]),
    ):
        yield from (fill_row(row, values) for values in table[group] for row in rows)
    for nccl in table["nccl"]:
        for row in table["each_nccl"]:
            yield fill_row({"version": "{v}-1+cuda{cuda}", **row}, nccl)


def list_distribution_driver(table: dict[str, Any]) -> Iterator[PackageRow]:
    """Yield the packages of the driver that the distribution has itself."""
    driver = table["distribution_driver"]
    branch = int(driver["v"].split(".")[0])
    values = {**driver, "branch": branch, "after": branch + 1}
    for row in table["each_driver"]:
        if row.get("of") != "vendor":
            yield fill_row({**DRIVER_SOURCE, **row}, values)


def list_kernels(table: dict[str, Any], release: str | None = None) -> Iterator[PackageRow]:
    """Yield the packages of kernels: of the kernel that runs, and of a newer one."""
    release = release or os.uname().release
    newer = next_release(release)
    values = {
        "release": release,
        "number": release.split("-")[0],
        "next": newer,
        "next_number": newer.split("-")[0],
        "meta": META.get(host.read_release().get("ID", ""), "amd64"),
    }
    for kernel in table["kernels"]:
        of_kernel = {key: text.format(**values) for key, text in kernel.items()}
        yield from (fill_row(row, {**values, **of_kernel}) for row in table["each_kernel"])


def next_release(release: str) -> str:
    """Return the release of a kernel that boot menus sort before this one.

    >>> next_release("6.1.0-47-amd64")
    '6.2.0-1-amd64'
    """
    major, minor = release.replace("-", ".").split(".")[:2]
    return f"{major}.{int(minor) + 1}.0-1-amd64"


def is_in_index(row: PackageRow, drivers: list[str], every_driver: list[str]) -> bool:
    """Return whether an index that offers these drivers offers the package.

    What belongs to no driver is in every index; a package of a branch is where the branch is.
    """
    version = row.values.get("v", "")
    if version not in every_driver:
        return True
    if row.row["version"].split("-")[0] == row.values["branch"]:
        return row.values["branch"] in {driver.split(".")[0] for driver in drivers}
    return version in drivers


def fill_row(row: dict[str, str], values: dict[str, Any]) -> PackageRow:
    """Fill the placeholders of a row; its version is the driver's if it names none."""
    texts = {key: str(value) for key, value in values.items()}
    filled = {key: text.format(**texts) for key, text in {"version": "{v}-1", **row}.items()}
    return PackageRow(filled, {**texts, **filled, "version": texts.get("v", filled["version"])})
