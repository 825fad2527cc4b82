"""A whole scrape of three simulated 3090s, byte by byte as the files in ../golden have it.

A difference is what a user's Prometheus would see: read it before it is committed. The files are
rewritten by

    DEEPRIG_REWRITE_GOLDEN=1 pytest tests/unit/agent/simulated/test_golden.py

Values of this machine and this moment (OF_THE_MOMENT) are 1.0 in them: of these only the series
are compared.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.checks.sample import Sample
from agent.sampling.metrics import PREFIX
from agent.sampling.sampler import PublishedSample
from lab.simulate.simulated_rig import SimulatedRig
from tests.unit.agent import samples
from tests.unit.agent.formats import (
    Parse,
    content,
    encode_both,
    parse_classic,
    parse_openmetrics,
)
from tests.unit.agent.readings import test_host
from tests.unit.agent.simulated import rigs

FOLDER = Path(__file__).parents[1] / "golden"
CLASSIC, OPENMETRICS = "classic.prom", "openmetrics.prom"
PARSERS: dict[str, Parse] = {CLASSIC: parse_classic, OPENMETRICS: parse_openmetrics}
#: Of the clock, of the agent's own processes, and of the disk that the tests run on.
OF_THE_MOMENT = re.compile(
    rf"^({PREFIX}(?:gpu_read_timestamp_seconds|gpu_read_duration_seconds|gpu_energy_joules_total|"
    r"agent_(?:start_time_seconds|sample_timestamp_seconds|sample_duration_seconds|samples_total|"
    r"cpu_seconds_total|resident_memory_bytes)|host_boot_time_seconds|"
    r"host_disk_(?:free|size)_bytes)(?:\{.*\})?) \S+$",
    re.MULTILINE,
)
#: A GPU's peers come in the order in which they were found, which differs from start to start.
PEERS = re.compile(rf"(?:^{PREFIX}gpu_peer_.*\n)+", re.MULTILINE)
# The tests' machine may be short of disk, and its clock may be set meanwhile.
CONFIG = """\
gpus: 3
gpus_from: inventory
thresholds: {disk_free_warning_bytes: 0, disk_free_critical_bytes: 0, clock_jump_seconds: 1.0e+9}
"""


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Iterator[dict[str, bytes]]:
    """Both formats of one sample, in which all GPUs answer and know their peers."""
    rig = SimulatedRig(tmp_path_factory.mktemp("golden"), library)
    test_host.write(rig.folder)
    rigs.config(rig, CONFIG)
    rigs.result(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.VERSION", "1.2.3")
        for name in ("LD_LIBRARY_PATH", "DEEPRIG_LAB_HARDWARE"):
            patch.setenv(name, rig.environment[name])
        sampler = rigs.sampler(rig)
        try:
            until = time.monotonic() + rigs.DEADLINE_SECONDS
            published = sampler.take()
            while not is_complete(published.sample):
                assert time.monotonic() < until, published.sample.gpus
                published = sampler.take()
            yield texts(published)
        finally:
            sampler.close()


def is_complete(sample: Sample) -> bool:
    """Return whether the peers are known, which are read after the first sample."""
    others = len(rigs.GPUS) - 1
    return all(
        gpu.reading is not None
        and len(gpu.reading.peer_access or {}) == len(gpu.reading.peer_topology or {}) == others
        for gpu in sample.gpus
    )


def texts(published: PublishedSample) -> dict[str, bytes]:
    classic, openmetrics = encode_both(published.metrics)
    return {CLASSIC: classic, OPENMETRICS: openmetrics}


def normalize_scrape(text: str) -> str:
    """Replace what differs between runs."""
    text = OF_THE_MOMENT.sub(r"\1 1.0", text)
    return PEERS.sub(lambda lines: "".join(sorted(lines[0].splitlines(keepends=True))), text)


@pytest.mark.parametrize("name", PARSERS)
def test_scrape_matches_the_golden_file(name: str, scrape: dict[str, bytes]) -> None:
    text = normalize_scrape(scrape[name].decode())
    if os.environ.get("DEEPRIG_REWRITE_GOLDEN"):
        (FOLDER / name).write_text(text)
    assert text.splitlines() == (FOLDER / name).read_text().splitlines()
    assert text.encode() == (FOLDER / name).read_bytes()


def test_both_formats_have_the_same_series(scrape: dict[str, bytes]) -> None:
    classic, openmetrics = (
        {
            series: value
            for _, _, values in content(parse, scrape[name]).values()
            for series, value in values.items()
        }
        for name, parse in PARSERS.items()
    )
    assert classic == openmetrics
    assert len(classic) >= 300


def test_golden_files_contain_only_metrics_of_the_table() -> None:
    rows = {row["name"] for rows in samples.table("metrics").values() for row in rows}
    names = content(parse_openmetrics, (FOLDER / OPENMETRICS).read_bytes())
    assert {name.removeprefix(PREFIX) for name in names} <= rows
