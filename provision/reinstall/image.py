"""The image of a new system: built once on this machine, and sent to each rig.

Building here needs nothing of an old rig but tar and gzip, and one build serves eight rigs.
mmdebstrap checks the archive's signatures.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.errors import DeeprigError
from provision.output.files import hash_file, make_private
from provision.paths import PLAYBOOKS, cache_folder
from provision.reinstall.systems import System

OVERLAY = PLAYBOOKS / "files" / "reinstall" / "image"
PROGRAM = "mmdebstrap"
#: Texts for people, which a stick has little room for.
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
KEPT_IMAGES = 4  # the latest used; each has about 300 MB
#: In the image: the folder of the overlay is copied over it before its initramfs is made.
HOOK = (
    'cp -rT "{overlay}" "$1" && rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"'
    ' && chroot "$1" update-initramfs -u -k all'
)


@dataclass(frozen=True)
class Image:
    """A system as a compressed tar archive. digest: its SHA-256; size: bytes."""

    path: Path
    digest: str
    size: int


def find_image(
    system: System, sources: Sequence[str], announce: Callable[[str], None] = lambda text: None
) -> Image:
    """Return the image of a system, built first if it is not in the cache. Raises DeeprigError."""
    folder = make_private(cache_folder() / "images")
    path = folder / f"{system.key}-{_hash_recipe(system, sources)}.tar.gz"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            announce(f"building {system.name}: a few minutes, once")
            _build(system, sources, path)
        path.touch()
    _remove_old(folder)
    digest = hash_file(path)
    return Image(path, digest, path.stat().st_size)


def _hash_recipe(system: System, sources: Sequence[str]) -> str:
    texts = [repr(system), *sources, HOOK]
    texts += [
        f"{file.relative_to(OVERLAY)}:{file.read_text(encoding='utf-8')}"
        for file in sorted(OVERLAY.rglob("*"))
        if file.is_file()
    ]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _build(system: System, sources: Sequence[str], path: Path) -> None:
    if shutil.which(PROGRAM) is None:
        raise DeeprigError(
            f"this machine has no {PROGRAM}, which builds the new system",
            advice=f"apt install {PROGRAM} (Debian and Ubuntu have it), then run again.",
        )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="draft-") as name:
        folder = Path(name)
        listed = folder / "sources.list"
        listed.write_text("".join(f"{line}\n" for line in sources), encoding="utf-8")
        draft = folder / "image.tar.gz"
        log = path.with_suffix(".log")
        with log.open("wb") as stream:
            done = subprocess.run(
                [
                    *(PROGRAM, "--mode=auto", "--variant=important", "--format=tar"),
                    *_read_apt_options(),
                    *(f"--keyring={ring}" for ring in _list_keyrings(system)),
                    f"--include={','.join(system.packages)}",
                    *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
                    f"--customize-hook={HOOK.format(overlay=OVERLAY)}",
                    *(system.suite, str(draft), str(listed)),
                ],
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        if done.returncode:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise DeeprigError(
                f"{system.name} can't be built: {lines[-1] if lines else PROGRAM + ' failed'}",
                advice=f"All that {PROGRAM} printed is in {log}.",
            )
        draft.replace(path)


def _read_apt_options() -> list[str]:
    """Return how this machine reaches its package sources: proxies, checks of dates."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    prefixes = ("Acquire::http", "Acquire::Check-", "Acquire::Retries")
    return [
        f"--aptopt={line}"
        for line in done.stdout.splitlines()
        if line.startswith(prefixes) and not line.endswith('"";')
    ]


def _list_keyrings(system: System) -> list[Path]:
    trusted = Path("/etc/apt/trusted.gpg.d")
    return [path for path in (system.keyring, trusted) if path.exists()]


def _remove_old(folder: Path) -> None:
    """Keep the images that were used last."""
    images = sorted(folder.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in images[KEPT_IMAGES:]:
        path.unlink()
