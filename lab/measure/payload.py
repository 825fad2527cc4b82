"""What the server of the benchmark has: a vendor's repository and an index of wheels, to scale.

The contents are random bytes, so that no layer compresses them.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.build import repository
from lab.errors import LabError

MB = 1_000_000  # bytes
#: The version of the wheel `torch` that is served, which no other index has.
TORCH_VERSION = "2.13.0.post1"
#: By name and version, MB: 300 for the largest packages of the driver, 100 for the toolkit's
#: compiler, 150 for NCCL, about as the vendor's repository for Debian 12 has them.
PACKAGES = {
    "firmware-nvidia-gsp_580.95.05": 75,
    "libnvidia-rtcore_580.95.05": 60,
    "libnvoptix1_580.95.05": 50,
    "libnvidia-nvvm4_580.95.05": 45,
    "libnvidia-gpucomp_580.95.05": 40,
    "libcuda1_580.95.05": 30,
    "cuda-nvcc-13-0_13.0.2": 100,
    "libnccl2_2.30.4": 75,
    "libnccl-dev_2.30.4": 75,
}
#: MB, as PyPI has them: `uv pip compile --format pylock.toml playbooks/files/torch-cuda13.txt`.
WHEELS = {
    "torch": 527,
    "bench-cublas": 423,
    "bench-cudnn": 366,
    "bench-cufft": 214,
    "bench-nccl": 206,
    "bench-cusolver": 201,
    "bench-triton": 198,
    "bench-cusparselt": 170,
    "bench-cusparse": 146,
    "bench-nvrtc": 90,
    "bench-nvshmem": 60,
    "bench-curand": 60,
    "bench-nvjitlink": 47,
    "bench-cupti": 11,
}
#: Enough of PyTorch for the closing check (playbooks/files/check_torch.py).
TORCH = '''"""A replacement for PyTorch: multiplies matrices of ones."""

__version__ = "{version}"


class version:
    cuda = None


class Ones:
    def __init__(self, rows, columns, value=1.0):
        self.rows, self.columns, self.value = rows, columns, value

    def __matmul__(self, other):
        return Ones(self.rows, other.columns, self.value * other.value * self.columns)

    def sum(self):
        return Ones(1, 1, self.value * self.rows * self.columns)

    def item(self):
        return self.value


def ones(rows, columns, device="cpu"):
    return Ones(rows, columns)
'''


def build_payload(folder: Path, scale: float, base: Path, release: str) -> None:
    """Write it into a new folder: cuda/ is the repository, simple/ and wheels/ the index.

    scale: by which the sizes are multiplied. base, release: the system of the rigs, its codename.
    """
    ballast = {name: int(megabytes * MB * scale) for name, megabytes in PACKAGES.items()}
    repository.build(folder / "repository", base, release, ballast)
    for name in ballast:
        if not list((folder / "repository/pool").glob(f"{name}-*.deb")):
            raise LabError(f"The lab's vendor has no package {name}.", "Adapt the table PACKAGES.")
    served = folder / "served"
    (served / "cuda").mkdir(parents=True)
    built = folder / "repository"
    for file in (*(built / "full").iterdir(), built / "pool", built / "key.asc"):
        (served / "cuda" / file.name).symlink_to(Path("../..") / file.relative_to(folder))
    wheels = served / "wheels"
    wheels.mkdir()
    parts = [name for name in WHEELS if name != "torch"]
    for name, megabytes in WHEELS.items():
        is_torch = name == "torch"
        write_wheel(
            wheels,
            name,
            TORCH_VERSION if is_torch else "1.0",
            {"__init__.py": TORCH.format(version=TORCH_VERSION)} if is_torch else {},
            int(megabytes * MB * scale),
            parts if is_torch else [],
        )
    write_simple_index(served / "simple", wheels)


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    ballast: int,
    requires: Iterable[str],
) -> Path:
    """Write a wheel, and its metadata beside it (PEP 658). ballast: bytes of random content."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {other}\n" for other in requires)
    contents = {
        f"{module}/__init__.py": b"",
        **{f"{module}/{path}": text.encode() for path, text in files.items()},
        f"{module}/ballast": os.urandom(ballast),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in contents.items()]
    contents[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
    wheel.with_name(f"{wheel.name}.metadata").write_text(metadata)
    return wheel


def write_simple_index(folder: Path, wheels: Path) -> None:
    """Write the pages of a simple index (PEP 503) whose files are in ../wheels."""
    for wheel in sorted(wheels.glob("*.whl")):
        metadata = wheel.with_name(f"{wheel.name}.metadata").read_bytes()
        page = folder / wheel.name.split("-")[0].replace("_", "-") / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        url = f"../../{wheels.name}/{wheel.name}#sha256={digest}"
        mark = f"sha256={hashlib.sha256(metadata).hexdigest()}"
        page.write_text(
            f'<html><body><a href="{html.escape(url)}" data-core-metadata="{mark}">'
            f"{wheel.name}</a></body></html>\n"
        )


def _digest(data: bytes) -> str:
    """Return a hash as RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
