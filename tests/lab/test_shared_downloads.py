"""Two rigs that are converted with `fab provision --cache`: each file is fetched once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lab.build.image import RigImage
from lab.measure.line_server import Journal, make_server
from lab.measure.payload import write_simple_index, write_wheel
from lab.rigs.machine import Rig
from tests.lab.operator import FabResult, finish, start

NAMES = ("test94", "test95")
SECONDS = 900


@dataclass
class Conversion:
    """The run, its rigs, and how often each large file was sent."""

    result: FabResult
    rigs: list[Rig]
    counts: Counter[str]
    cache: Path


@pytest.fixture(scope="module")
def conversion(
    make_rig: Callable[..., Rig],
    lab_image: RigImage,
    write_inventory: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Conversion]:
    folder = tmp_path_factory.mktemp("shared")
    served = folder / "served"
    (served / "cuda").mkdir(parents=True)
    for file in (lab_image.repository / "full").iterdir():
        (served / "cuda" / file.name).symlink_to(file)
    for name in ("pool", "key.asc"):
        (served / "cuda" / name).symlink_to(lab_image.repository / name)
    (served / "wheels").mkdir()
    write_wheel(served / "wheels", "torch", "2.13.0.post1", {}, 3_000_000, ["bench-part"])
    write_wheel(served / "wheels", "bench-part", "1.0", {}, 2_000_000, [])
    write_simple_index(served / "simple", served / "wheels")
    journal = Journal(folder / "journal")
    server = make_server(served, "127.0.0.1", 0, journal)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    rigs = [make_rig(name, flavour="clean") for name in NAMES]
    inventory = write_inventory(*rigs)
    document = yaml.safe_load(inventory.read_text())
    for variables in document["rigs"]["hosts"].values():
        variables |= {
            "nvidia_repository_url": f"{url}/cuda/",
            "nvidia_repository_key_url": f"{url}/cuda/key.asc",
            "torch_requirement": "torch==2.13.0.post1",
            "torch_index_url": f"{url}/simple/",
        }
    inventory.write_text(yaml.safe_dump(document))
    cache = folder / "xdg"
    # The wheels hold no program: what would import them is left out.
    words = ("provision", "--cache", "--skip-tags", "validation,check")
    result = finish(start(inventory, "rigs", *words, XDG_CACHE_HOME=str(cache)), SECONDS)
    counts = Counter(
        note.path.rpartition("/")[2]
        for note in journal.read()
        if note.path.endswith((".deb", ".whl"))
    )
    yield Conversion(result, rigs, counts, cache / "deeprig/downloads")
    server.shutdown()
    thread.join()
    server.server_close()
    for rig in rigs:
        rig.discard()


@pytest.mark.extended
def test_both_rigs_are_converted(conversion: Conversion) -> None:
    assert conversion.result.status == 0, conversion.result.text
    for rig in conversion.rigs:
        shown = rig.run("dpkg-query -W nvidia-open-580 cuda-minimal-build-13-0 libnccl2").stdout
        assert "580.95.05-1" in shown
        wanted = "/opt/deeprig/venv/lib/python3*/site-packages/torch/ballast"
        assert rig.run(f"stat -c %s {wanted}").stdout == "3000000\n"


@pytest.mark.extended
def test_each_file_was_fetched_once(conversion: Conversion) -> None:
    names = " ".join(conversion.counts)
    for part in (
        "nvidia-open-580",
        "libcuda1",
        "cuda-nvcc-13-0",
        "libnccl2",
        "torch",
        "bench_part",
    ):
        assert part in names
    repeated = {name: count for name, count in conversion.counts.items() if count > 1}
    assert repeated == {}


@pytest.mark.extended
def test_run_reports_what_was_handed_out(conversion: Conversion) -> None:
    conversion.result.assert_shows("handed to 2 of 2 rigs", str(conversion.cache))
    assert len(list(conversion.cache.glob("*[0-9a-f]"))) >= len(conversion.counts)


@pytest.mark.extended
def test_nothing_of_it_is_left_on_the_rigs(conversion: Conversion) -> None:
    for rig in conversion.rigs:
        assert "deeprig" not in rig.run("ls /var/cache/apt").stdout
        assert rig.run("find /opt/deeprig/cache -name '*.whl'").stdout == ""
