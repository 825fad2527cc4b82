"""The Fabric tasks of the lab: `fab lab.up`, `lab.down`, `lab.status` and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fabric

Verb = Callable[..., None]


def task(**options: Any) -> Callable[[Verb], Verb]:
    """Make a function a task, as Fabric's own decorator, which has no types."""
    decorate: Callable[[Verb], Verb] = fabric.task(**options)
    return decorate


@contextmanager
def _plainly() -> Iterator[None]:
    """Turn errors and Ctrl-C into one line without a traceback."""
    from invoke.exceptions import Exit

    from lab.errors import LabError

    try:
        yield
    except LabError as error:
        raise Exit(f"lab: {error}", code=1) from None
    except PermissionError as error:
        raise Exit(f"lab: {error}. The lab needs root: run it with sudo.", code=1) from None
    except KeyboardInterrupt:
        raise Exit("lab: interrupted; `fab lab.down` removes what is left.", code=130) from None


@task(
    help={
        "count": "how many rigs",
        "flavour": "their mining system: hiveos (default) …; `fab lab.flavours` lists them",
        "fresh": "replace them by new rigs, as bought",
    }
)
def up(c: Any, count: int = 1, flavour: str = "", fresh: bool = False) -> None:
    """Boot lab rigs (rig, rig2, …) and write inventory/lab.yml."""
    with _plainly():
        from lab.rigs import fleet

        fleet.up(count, flavour=flavour, fresh=fresh)


@task()
def flavours(c: Any) -> None:
    """List the systems that a rig may have mined with."""
    with _plainly():
        from lab.rigs import fleet

        fleet.list_flavours()


@task(help={"all": "also delete the cached images"})
def down(c: Any, all: bool = False) -> None:
    """Stop the lab's rigs and delete everything of them."""
    with _plainly():
        from lab.rigs import fleet

        fleet.down(images=all)


@task()
def status(c: Any) -> None:
    """Show the lab's rigs: where they are and how they do."""
    with _plainly():
        from lab.rigs import fleet

        fleet.status()


@task()
def shell(c: Any, rig: str) -> None:
    """Open a root shell in a rig, as at its console."""
    with _plainly():
        from lab.rigs import fleet

        fleet.shell(rig)


@task(help={"profile": "what the next boot finds: x1 (as bought) or x4x4x4x4"})
def bios(c: Any, rig: str, profile: str = "") -> None:
    """Show or change how a rig's BIOS splits its slots."""
    with _plainly():
        from lab.rigs import fleet

        fleet.bios(rig, profile)


@task()
def faults(c: Any) -> None:
    """List what can be made to go wrong."""
    with _plainly():
        from lab.rigs import fleet

        fleet.list_faults()


@task(help={"argument": "as `lab.faults` lists it; for a fault of a GPU, first its number"})
def fault(c: Any, rig: str, name: str, switch: str, argument: str = "") -> None:
    """Make something go wrong on a rig, or right again: RIG NAME on|off [--argument …]."""
    with _plainly():
        from lab.rigs import fleet

        fleet.fault(rig, name, switch, argument)
