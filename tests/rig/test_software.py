"""Driver, CUDA, NCCL and PyTorch: each as the inventory wants it, and fitting the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.rig.proof import Proof, Row, row
from tests.rig.subject import HANGS, Silent, Subject

#: Worked out from what the rig has free, and so another one each time.
OF_THE_MOMENT = ("swap_file",)
TORCH_SECONDS, HUNG_SECONDS = 100, 15  # for PyTorch to load; where a GPU is known to hang
#: Prints PyTorch's own description; nccl is the version of its wheel.
TORCH_CODE = """
import json, torch
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda,
                  "sees": torch.cuda.device_count() if torch.version.cuda else 0}))
"""


@pytest.fixture(scope="module")
def torch(subject: Subject) -> dict[str, Any]:
    """Return PyTorch's own description; empty where it is not installed."""
    python = f"{subject.expected['venv']}/bin/python"
    # It asks the driver, too; and loads slowly from a slow disk.
    seconds = HUNG_SECONDS if subject.smi.hangs else TORCH_SECONDS
    status, text = subject.within(seconds, python, "-B", "-c", TORCH_CODE)
    if status == HANGS:
        raise Silent(f"PyTorch hangs: no answer within {seconds} s")
    versions: dict[str, Any] = json.loads(text.splitlines()[-1]) if status == 0 else {}
    return versions


def test_driver(subject: Subject, prove: Proof) -> None:
    """NVIDIA driver.
    Library and loaded module must be of one version, or no program finds a GPU.
    """
    driver, wanted = subject.facts["driver"], subject.expected
    loaded, library = driver["loaded_version"], driver["library_version"]
    install = f"fab provision -H {subject.name} --tags base,driver,reboot"
    if not loaded:
        prove(
            [row("rig", "no driver is loaded", f"branch {wanted['driver_branch']}", False, install)]
        )
    prove(
        [
            row(
                "branch",
                loaded,
                f"{wanted['driver_branch']} (inventory)",
                loaded.split(".")[0] == wanted["driver_branch"],
                install,
            ),
            row(
                "library",
                library,
                f"{loaded}, as the loaded module",
                library == loaded,
                "The driver was upgraded under the running machine: reboot.",
            ),
            row(
                "kernel modules",
                driver["loaded_flavour"],
                f"{wanted['driver_flavour']} (by the GPUs)",
                driver["loaded_flavour"] == wanted["driver_flavour"],
                install,
            ),
            row(
                "nouveau",
                "loaded" if driver["nouveau_loaded"] else "not loaded",
                "not loaded",
                not driver["nouveau_loaded"],
                f"fab provision -H {subject.name} --tags base, then reboot",
            ),
        ]
    )


def test_packages_held(subject: Subject, host: Any, prove: Proof) -> None:
    """Packages held.
    An unattended upgrade of the driver breaks it until the next reboot.
    """
    held = set(subject.read("apt-mark showhold").split())
    package = subject.expected["driver_package"]
    advice = f"fab provision -H {subject.name} --tags driver,nccl"
    rows = []
    for name in (package, "libnccl2", "libnccl-dev"):
        there = host.package(name).is_installed
        reading = "held" if name in held else "not held" if there else "not installed"
        rows.append(row(name, reading, "held", name in held and there, advice))
    blacklist = host.file("/etc/apt/apt.conf.d/51deeprig-nvidia")
    rows.append(
        row(
            "unattended-upgrades",
            "reported" if blacklist.exists else "not reported",
            "leaves nvidia packages alone",
            blacklist.exists,
            advice,
        )
    )
    prove(rows)


def test_packages_whole(subject: Subject, prove: Proof) -> None:
    """Packages whole.
    A half-installed package stops the next upgrade, or starts the wrong module.
    """
    broken = subject.read("dpkg --audit | grep -c '^ ' || true")
    prove(
        [
            row(
                "dpkg",
                f"{broken} unfinished",
                "none",
                broken == "0",
                "dpkg --configure -a; apt-get -f install",
            )
        ]
    )


def test_kernel_headers(subject: Subject, prove: Proof) -> None:
    """Headers of the running kernel.
    DKMS builds the driver's module with them when a new driver comes.
    """
    kernel = subject.facts["kernel"]
    prove(
        [
            row(
                kernel["release"],
                "installed" if kernel["headers"] else "missing",
                "installed",
                bool(kernel["headers"]),
                f"fab provision -H {subject.name} --tags base",
            )
        ]
    )


def test_cuda_toolkit(subject: Subject, host: Any, prove: Proof) -> None:
    """CUDA toolkit.
    What is compiled on the rig needs the CUDA that PyTorch was built with.
    """
    wanted = subject.expected["cuda_toolkit"]
    if wanted == "none":
        pytest.skip("the inventory wants no toolkit")
    names = (f"cuda-toolkit-{wanted}", f"cuda-minimal-build-{wanted}")  # the whole, a compiler
    packages = {name: host.package(name) for name in names}
    there = [
        f"{name} {package.version}" for name, package in packages.items() if package.is_installed
    ]
    prove(
        [
            row(
                f"CUDA {wanted.replace('-', '.')}",
                ", ".join(there) or "not installed",
                "installed",
                bool(there),
                f"fab provision -H {subject.name} --tags cuda",
            )
        ]
    )


def test_nccl(subject: Subject, host: Any, torch: dict[str, Any], prove: Proof) -> None:
    """NCCL.
    Programs built here run on the CUDA that PyTorch was built with.
    """
    wanted, major = subject.expected["nccl"], subject.expected["cuda_major"]
    package = host.package("libnccl2")
    version = package.version if package.is_installed else "not installed"
    advice = f"fab provision -H {subject.name} --tags nccl"
    if wanted:
        rows = [row("libnccl2", version, f"{wanted} (inventory)", version == wanted, advice)]
    else:
        fits = f"+cuda{major}." in version
        rows = [row("libnccl2", version, f"one for CUDA {major}", fits, advice)]
    torch_cuda = (torch.get("cuda") or "").split(".")[0]
    if torch_cuda:
        fits = f"+cuda{torch_cuda}." in version
        rows.append(
            row("PyTorch's CUDA", torch["cuda"], "that of libnccl2", fits, advice, "warning")
        )
    prove(rows)


def test_torch(subject: Subject, torch: dict[str, Any], prove: Proof) -> None:
    """PyTorch.
    The wheel must be the one for these GPUs, and find them.
    """
    wanted = subject.expected
    install = f"fab provision -H {subject.name} --tags pytorch"
    if not torch:
        prove([row("rig", f"none in {wanted['venv']}", wanted["torch"], False, install)])
    version = torch["version"].split("+")[0]
    rows = [
        row(
            "version",
            torch["version"],
            f"{wanted['torch']} (inventory)",
            f"torch=={version}" == wanted["torch"] or "==" not in wanted["torch"],
            install,
        )
    ]
    if wanted["torch_build"] == "cuda":
        count = len(subject.gpus)
        rows.append(
            row(
                "CUDA",
                torch["cuda"] or "a build without it",
                "a build with CUDA",
                bool(torch["cuda"]),
                install,
            )
        )
        rows.append(
            row(
                "GPUs",
                torch["sees"],
                f"{count}, as on the bus",
                torch["sees"] == count,
                "See the driver first; then CUDA_VISIBLE_DEVICES.",
            )
        )
    prove(rows)


def test_driver_speaks_cuda(agent: Mapping[str, Any], torch: dict[str, Any], prove: Proof) -> None:
    """Driver and CUDA.
    A wheel built with a newer CUDA than the driver speaks finds no GPU.
    """
    if not torch.get("cuda"):
        pytest.skip("PyTorch is a build without CUDA")
    spoken = agent["driver"]["cuda_version"] or "0"
    needed = torch["cuda"]
    holds = _numbers(spoken) >= _numbers(needed) or _numbers(spoken)[:1] == _numbers(needed)[:1]
    prove(
        [
            row(
                "driver",
                f"CUDA {spoken}",
                f"at least CUDA {needed.split('.')[0]}, for PyTorch",
                holds,
                "Take a newer driver branch (nvidia_driver_branch), or a wheel for an older CUDA.",
            )
        ]
    )


def test_as_the_inventory_says(subject: Subject, prove: Proof) -> None:
    """Inventory and rig.
    Settings that were changed since the last run are not on the rig yet.
    """
    record, wanted = subject.record, subject.expected
    advice = f"fab provision -H {subject.name}"
    if not record:
        prove([Row("rig", "not provisioned yet", "provisioned", "warning", advice)])
        return
    rows = [
        Row(name, f"{was}", f"{now} (inventory)", "warning", advice)
        for key in wanted
        if key not in OF_THE_MOMENT
        for name, was, now in _differences(key, record.get(key), wanted[key])
    ]
    prove(rows or [Row("rig", "as in the inventory", "as in the inventory")])


def _differences(key: str, was: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """(name, before, now). Of what is set by GPU, only cards that are there count here."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        both = sorted(was.keys() & now.keys())
        return [(f"{key} {name}", was[name], now[name]) for name in both if was[name] != now[name]]
    return [] if was == now else [(key, was, now)]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
