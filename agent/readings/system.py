"""Kernels and packages as root sees them: /var/lib/deeprig/system.json.

The agent may not read the boot menu. deeprig-system-state.timer writes the file every ten minutes;
docs/agent.md describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMAT, FORMAT_VERSION = "deeprig-system-state", 1


@dataclass(frozen=True)
class SystemState:
    """What boots next, and whether its packages fit together.

    written_at: Unix seconds. next_kernel: its release; empty where the boot menu cannot be read.
    kernels: version of the NVIDIA module by release, of those that may boot; None without one.
    driver_version: of the installed libraries. branches, origins: how many of the driver's packages
    are of each; not_held: names of those that an upgrade may replace.
    """

    written_at: float
    next_kernel: str
    kernels: Mapping[str, str | None]
    driver_version: str | None
    branches: Mapping[str, int]
    origins: Mapping[str, int]
    not_held: tuple[str, ...]
    unfinished: tuple[str, ...]
    interrupted: bool

    @property
    def has_driver(self) -> dict[str, bool]:
        """Whether each kernel has a module, by release."""
        return {release: version is not None for release, version in self.kernels.items()}

    @property
    def next_boot_works(self) -> bool | None:
        """Whether the next kernel has the module of the installed driver.

        None without packages of a driver, or where the next kernel is unknown.
        """
        if not self.branches or self.next_kernel not in self.kernels:
            return None
        module = self.kernels[self.next_kernel]
        if module is None or module == "unknown" or self.driver_version is None:
            return module is not None
        return module == self.driver_version


def parse(document: Any) -> SystemState:
    """Return a state. Raises ValueError if the document is not one of this version."""
    try:
        if document["format"] != FORMAT or document["version"] != FORMAT_VERSION:
            raise ValueError(f"not a {FORMAT} of version {FORMAT_VERSION}")
        packages = document["driver_packages"]
        branches, origins = (
            [str(package[field]) for package in packages] for field in ("branch", "origin")
        )
        version = document["library_version"]
        modules = {
            str(kernel["release"]): kernel["module_version"] for kernel in document["kernels"]
        }
        return SystemState(
            written_at=float(document["written_at"]),
            next_kernel=next(
                (str(kernel["release"]) for kernel in document["kernels"] if kernel["default"]), ""
            ),
            kernels={
                release: None if module is None else str(module)
                for release, module in modules.items()
            },
            driver_version=None if version is None else str(version),
            branches={branch: branches.count(branch) for branch in sorted({*branches})},
            origins={origin: origins.count(origin) for origin in sorted({*origins})},
            not_held=tuple(str(package["name"]) for package in packages if not package["held"]),
            unfinished=tuple(str(words) for words in document["unfinished"]),
            interrupted=bool(document["interrupted"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"missing or invalid in the state: {error}") from None
