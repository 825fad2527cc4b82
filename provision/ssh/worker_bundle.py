"""The worker as bytes: all that runs on the rig, and the command that starts it there."""

from __future__ import annotations

import functools
import getpass
import json
import socket
import struct
import zlib
from pathlib import Path

import packaging

from provision.paths import ROOT

MARK = b"deeprig\n"
OLDEST_PYTHON = (3, 8)  # what runs on the rig is written for it (pyproject.toml)
OLD_PYTHON = "deeprig-old-python"  # what an older one writes, with its version

# Any Python 3 can parse it. It skips what a password prompt left unread, then runs what follows the
# mark.
_STARTER = (
    "import json,struct,sys,zlib\n"
    f"if sys.version_info<{OLDEST_PYTHON}:sys.exit('{OLD_PYTHON} '+sys.version.split()[0])\n"
    "i=sys.stdin.buffer;l=b'-'\n"
    "while l and l!=b'deeprig\\n':l=i.readline()\n"
    "n=struct.unpack('>I',i.read(4))[0];p=json.loads(zlib.decompress(i.read(n)))\n"
    "g={'__name__':'bootstrap'};exec(compile(p.pop('code'),'<deeprig>/bootstrap.py','exec'),g)\n"
    "g['start'](stream=i,**p)"
)
# What the rig gets: provision.remote, and the readings that its facts share with the agent.
_PACKAGES = ("provision", "provision.remote", "agent", "agent.readings")
_SHARED = ("agent.readings.pcie", "agent.readings.command_line")
# What the pip module imports of `packaging`, which a rig need not have.
_PACKAGING = (
    *("_elffile", "_manylinux", "_musllinux", "_parser", "_ranges", "_tokenizer", "markers"),
    *("requirements", "specifiers", "tags", "utils", "version"),
)


def starting_command(interpreter: str = "python3") -> str:
    """Return the command that starts Python on the rig; it reads the payload from its input.

    -I and -S: nothing of the rig's own Python set-up is read, which also saves time.
    """
    return f'{interpreter} -IS -c "{_STARTER}"'


@functools.cache
def _contents() -> tuple[dict[str, str], dict[str, str], str]:
    """Sources by module name, data files by path, and the bootstrap code."""
    sources = dict.fromkeys(_PACKAGES, "")
    data: dict[str, str] = {}

    def add(folder: Path, package: str) -> None:
        sources[package] = ""
        for entry in folder.iterdir():
            name = f"{package}.{entry.name.removesuffix('.py')}"
            if entry.is_dir() and entry.name != "__pycache__":
                add(entry, name)
            elif entry.name == "__init__.py":
                sources[package] = entry.read_text(encoding="utf-8")
            elif entry.name.endswith(".py"):
                sources[name] = entry.read_text(encoding="utf-8")
            elif entry.name.endswith(".json"):
                path = "/".join(["<deeprig>", *package.split("."), entry.name])
                data[path] = entry.read_text(encoding="utf-8")

    add(ROOT / "provision" / "remote", "provision.remote")
    code = sources.pop("provision.remote.bootstrap")
    for name in _SHARED:
        sources[name] = (ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
    sources["packaging"] = ""
    library = Path(packaging.__file__).parent
    for module in _PACKAGING:
        source = (library / f"{module}.py").read_text(encoding="utf-8")
        sources[f"packaging.{module}"] = source
    return sources, data, code


@functools.cache
def make_payload(exclusive: bool) -> bytes:
    """Return the mark and the compressed worker. `exclusive`: it takes the rig's lock."""
    sources, data, code = _contents()
    packed = {
        "sources": sources,
        "data": data,
        "code": code,
        "operator": f"{getpass.getuser()}@{socket.gethostname()}" if exclusive else "",
    }
    body = zlib.compress(json.dumps(packed).encode(), 6)
    return MARK + struct.pack(">I", len(body)) + body
