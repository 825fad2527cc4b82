"""Run on the rig by `python3 -c`: makes the worker's modules importable from memory, and starts it.

It is executed as text, so it imports nothing of deeprig before its importer is installed.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import linecache
import sys
from typing import Any, BinaryIO


class MemoryImporter(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports modules from the sources that came over the channel; writes no file.

    sources: module name -> text. data: path below `<deeprig>` -> text of a file beside a module.
    """

    def __init__(self, sources: dict[str, str], data: dict[str, str]) -> None:
        self._sources = sources
        self._data = data

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return a spec for a module that we hold."""
        if name not in self._sources:
            return None
        return importlib.util.spec_from_loader(name, self, origin=f"<deeprig>/{name}.py")

    def is_package(self, name: str) -> bool:
        """Return a package holds other modules."""
        return any(other.startswith(name + ".") for other in self._sources)

    def get_source(self, name: str) -> str:
        """Return the source text."""
        return self._sources[name]

    def get_data(self, path: str) -> bytes:
        """Return a data file beside a module, as pkgutil.get_data asks for it."""
        return self._data[path].encode()

    def exec_module(self, module: Any) -> None:
        """Run a module's code; its lines are there for tracebacks."""
        name = module.__name__
        path = f"<deeprig>/{name}.py"
        text = self._sources[name]
        module.__file__ = "/".join(["<deeprig>", *name.split("."), "__init__.py"])
        linecache.cache[path] = (len(text), None, text.splitlines(True), path)
        exec(compile(text, path, "exec"), module.__dict__)  # our own modules  # nosec B102


def start(sources: dict[str, str], data: dict[str, str], operator: str, stream: BinaryIO) -> None:
    """Serve on standard input, of which `stream` is the open reader."""
    sys.meta_path.insert(0, MemoryImporter(sources, data))
    from provision.remote import worker

    worker.main(stream, operator)
