"""Flavours: the mining system that is on a rig's disk when it is bought.

A flavour is a folder of lab/flavours and a row of its table. In the folder: `tree`, the files as
they lie on the rig; `packages/NAME`, a package to be; `setup.sh`, what more it takes, run inside
the image. A flavour may be laid `over` another, of which it then has everything but the login.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.build.packaging import normalize, pack
from lab.errors import LabError

FOLDER = Path(__file__).parents[1] / "flavours"
TABLE = FOLDER / "flavours.yml"
DEFAULT = "hiveos"


@dataclass(frozen=True)
class Flavour:
    """A row of flavours.yml, which explains its columns."""

    name: str
    text: str
    user: str
    password: str
    over: str = ""
    base: str = ""
    driver_pack: str = ""
    apt: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[Flavour, ...]:
        """The flavours that it consists of, the lowest first and itself last."""
        return (*(find(self.over).layers if self.over else ()), self)

    @property
    def release(self) -> str:
        """The codename of the release beneath it; empty for its machine's."""
        return self.base or (find(self.over).release if self.over else "")

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return FOLDER / self.name

    @property
    def trees(self) -> tuple[Path, ...]:
        """The trees of its files, in the order in which they are copied over each other."""
        trees = (layer.folder / "tree" for layer in self.layers)
        return tuple(tree for tree in trees if tree.is_dir())

    @property
    def packages(self) -> tuple[Path, ...]:
        """The folders of its packages."""
        return tuple(
            package
            for layer in self.layers
            for package in sorted((layer.folder / "packages").glob("*"))
        )

    def settings(self) -> Iterator[str]:
        """Yield the settings of its setup script, as shell assignments."""
        yield f"login={self.user}"
        yield f"password={self.password}"
        yield f"driver_pack={self.driver_pack}"
        yield f"apt='{' '.join(self.apt)}'"

    def script(self) -> str:
        """Return the script for inside the image: each layer's setup within the common one."""
        files = (layer.folder / "setup.sh" for layer in self.layers)
        layer_setup = "".join(file.read_text() for file in files if file.is_file())
        common = (FOLDER / "setup.sh").read_text()
        return "\n".join([*self.settings(), common.replace("# @SETUP@\n", layer_setup)])

    def provide(self, work: Path) -> None:
        """Put its packages and its tree into the folder that the setup script reads."""
        for package in self.packages:
            tree = work / package.name
            shutil.copytree(package, tree, symlinks=True)
            pack(tree, work / f"{package.name}.deb")
            shutil.rmtree(tree)
        (work / "tree").mkdir()
        for tree in self.trees:
            shutil.copytree(tree, work / "tree", symlinks=True, dirs_exist_ok=True)
        normalize(work / "tree")

    def paths(self) -> Iterator[Path]:
        """Yield every file that it is made from."""
        yield from (TABLE, FOLDER / "setup.sh")
        for layer in self.layers:
            yield from (path for path in sorted(layer.folder.rglob("*")) if _is_leaf(path))


def _is_leaf(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


@functools.cache
def load_table() -> dict[str, Flavour]:
    """Return all flavours by name."""
    flavours = {}
    for name, row in yaml.safe_load(TABLE.read_text()).items():
        lists = {key: tuple(value) for key, value in row.items() if isinstance(value, list)}
        flavours[name] = Flavour(name, **{**row, **lists})
    return flavours


def find(name: str) -> Flavour:
    """Return the flavour of that name. Raises LabError, which lists the flavours."""
    if name not in load_table():
        raise LabError(f"No flavour is called {name}.", f"There is: {', '.join(load_table())}.")
    return load_table()[name]
