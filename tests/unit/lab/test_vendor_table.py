"""The table of the lab's packages: relations that can be satisfied, indexes, kernels."""

from __future__ import annotations

import re

import pytest

from lab.build import vendor_table
from lab.build.vendor_table import PackageRow

TABLE = vendor_table.load_table()
ROWS = list(vendor_table.list_vendor_rows(TABLE))
EVERY_DRIVER = [driver["v"] for driver in TABLE["drivers"]]


def names(rows: list[PackageRow]) -> set[str]:
    return {row.row["name"] for row in rows}


def offered(index: str) -> list[PackageRow]:
    drivers = TABLE["indexes"][index]
    return [row for row in ROWS if vendor_table.is_in_index(row, drivers, EVERY_DRIVER)]


@pytest.mark.parametrize("index", list(TABLE["indexes"]))
def test_every_relation_names_a_package_of_the_index_or_of_the_distribution(index: str) -> None:
    rows = offered(index)
    distribution = {row["name"] for row in TABLE["contrib"]} | {"dkms"}
    for row in rows:
        for group in row.row.get("depends", "").split(", "):
            alternatives = {re.split(r"[ (]", word)[0] for word in group.split(" | ")}
            assert not group or alternatives & (names(rows) | distribution), (row.row, group)


def test_no_package_is_in_the_table_twice() -> None:
    seen = [(row.row["name"], row.row["version"]) for row in ROWS]
    assert len(seen) == len({*seen})


def test_exact_relations_are_to_versions_of_the_same_driver() -> None:
    for row in ROWS:
        for version in re.findall(r"\(= ([^)]*)-1\)", row.row.get("depends", "")):
            assert version in row.row["version"]


def test_indexes_differ_by_drivers() -> None:
    assert "nvidia-driver-pinning-590" not in names(offered("full"))
    assert "nvidia-open-570" in names(offered("full"))
    assert "nvidia-open-570" not in names(offered("next"))
    assert {"libnccl2", "cuda-toolkit-13-0", "nvidia-container-toolkit"} <= names(offered("next"))


def test_driver_of_the_distribution_has_none_of_the_vendors_names() -> None:
    rows = list(vendor_table.list_distribution_driver(TABLE))
    assert not {"nvidia-open", "cuda-drivers", "nvidia-kernel-open-dkms"} & names(rows)
    assert {"nvidia-driver", "nvidia-kernel-dkms", "libnvidia-ml1"} <= names(rows)
    assert not [row for row in rows if "pinning" in row.row["name"]]


def test_kernels_are_the_one_that_runs_and_a_newer_one() -> None:
    rows = list(vendor_table.list_kernels(TABLE, "6.1.0-47-amd64"))
    images = [row.row["name"] for row in rows if row.row["name"].startswith("linux-image-6")]
    assert images == ["linux-image-6.1.0-47-amd64", "linux-image-6.2.0-1-amd64"]
    metapackage = [row.row for row in rows if row.row["name"].startswith("linux-headers-")][-1]
    assert metapackage["depends"] == "linux-headers-6.2.0-1-amd64 (= 6.2.0-1)"
