"""The same question to many hosts at once; what one of them raises is its own answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from provision.errors import DeeprigError, describe
from provision.inventory import Host
from provision.terminal import Terminal

Answer = TypeVar("Answer")


def each(hosts: Sequence[Host], read: Callable[[Host], Answer]) -> dict[str, Answer | DeeprigError]:
    """What `read` gives of each host, or why it gives nothing, by name."""

    def one(host: Host) -> Answer | DeeprigError:
        try:
            return read(host)
        except DeeprigError as error:
            return error
        except Exception as error:  # of one host, and the others are shown
            return DeeprigError(f"deeprig itself broke here: {error!r}")

    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip((host.name for host in hosts), pool.map(one, hosts), strict=True))


def answered(found: Mapping[str, Answer | DeeprigError]) -> Iterator[tuple[str, Answer]]:
    """Each host and its answer; one that has none is told of on stderr, in its turn."""
    errors = Terminal(error=True)  # --json has stdout to itself
    for name, one in found.items():
        if isinstance(one, DeeprigError):
            errors.print(describe(one, name), style="red")
        else:
            yield name, one


def worst(found: Mapping[str, object]) -> int:
    """The highest status of those without an answer; 0 where all have one."""
    return max((one.status for one in found.values() if isinstance(one, DeeprigError)), default=0)
