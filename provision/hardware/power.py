"""Whether a rig's power supplies carry its GPUs, each GPU and its riser on one supply alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypedDict

from provision.errors import SourceError
from provision.hardware import FOLDER
from provision.inventory import yaml_source
from provision.inventory.hosts import Host

TABLE = FOLDER / "power.yml"
VARIABLE = "psus"
MOST_WATTS = 10_000.0  # what no supply has


class SupplyDocument(TypedDict):
    """A supply, as JSON has it. Watts."""

    rated: float
    usable: float
    used: float
    gpus: tuple[str, ...]
    host: bool


class BudgetDocument(TypedDict):
    """A budget, as JSON has it. Watts."""

    name: str
    watts: float
    supplies: list[SupplyDocument]
    carries: bool


@dataclass(frozen=True)
class Supply:
    """One supply. Watts: rated, what may be used of it, and what is put on it."""

    rated: float
    usable: float
    used: float
    gpus: tuple[str, ...]
    host: bool

    @property
    def carries(self) -> bool:
        """Whether it is enough."""
        return self.used <= self.usable


@dataclass(frozen=True)
class Budget:
    """GPUs at some limits, shared out among the supplies. name: which limits."""

    name: str
    watts: float
    supplies: tuple[Supply, ...]

    @property
    def carries(self) -> bool:
        """Whether every supply is enough for what is on it."""
        return all(supply.carries for supply in self.supplies)

    def document(self) -> BudgetDocument:
        """As JSON has it."""
        supplies: list[SupplyDocument] = [
            {
                "rated": supply.rated,
                "usable": supply.usable,
                "used": supply.used,
                "gpus": supply.gpus,
                "host": supply.host,
            }
            for supply in self.supplies
        ]
        return {
            "name": self.name,
            "watts": self.watts,
            "supplies": supplies,
            "carries": self.carries,
        }


class _PowerTable(TypedDict):
    """power.yml. share: of a supply's rating, what may be used."""

    host_watts: float
    share: float


@cache
def _table() -> _PowerTable:
    table: _PowerTable = yaml_source.load_yaml(TABLE)
    return table


def supplies_of(host: Host) -> list[float]:
    """Return the ratings that the inventory has; nothing else knows them. Raises SourceError."""
    given = host.variables.get(VARIABLE) or []
    if not isinstance(given, list) or not all(
        isinstance(rating, (int, float)) and is_possible_rating(rating) for rating in given
    ):
        raise SourceError(
            f"{VARIABLE} of {host.name} must be a list of watts", advice=f"{VARIABLE}: [750, 750]"
        )
    return [float(rating) for rating in given]


def is_possible_rating(watts: float) -> bool:
    """Return whether a supply may have this rating; False for what is not a number."""
    return 0 < watts <= MOST_WATTS


def budget(name: str, gpus: Sequence[tuple[str, float]], ratings: Sequence[float]) -> Budget:
    """Share GPUs (address, watts) out: the host on the first supply, each GPU where most is left.

    >>> budget("now", [("a", 280), ("b", 280), ("c", 280)], [750, 750]).carries
    True
    >>> budget("stock", [("a", 350), ("b", 350), ("c", 350)], [750, 750]).carries
    False
    """
    table = _table()
    used = [float(table["host_watts"]) if at == 0 else 0.0 for at in range(len(ratings))]
    placed: list[list[str]] = [[] for _ in ratings]
    for address, watts in sorted(gpus, key=lambda gpu: -gpu[1]) if ratings else ():
        at = max(
            range(len(ratings)), key=lambda supply: ratings[supply] * table["share"] - used[supply]
        )
        used[at] += watts
        placed[at].append(address)
    supplies = tuple(
        Supply(rated, rated * table["share"], used[at], tuple(sorted(placed[at])), at == 0)
        for at, rated in enumerate(ratings)
    )
    return Budget(name, table["host_watts"] + sum(watts for _, watts in gpus), supplies)


def fitting_limit(gpus: int, ratings: Sequence[float]) -> float:
    """Return the highest limit in watts that the supplies carry, the same for each of so many GPUs.

    0 where they can't even carry the host. A watt at a time: which GPU is on which supply changes.

    >>> fitting_limit(3, [750.0, 750.0])
    300.0
    >>> fitting_limit(3, [750.0])
    150.0
    """
    limit = max(ratings, default=0.0)
    while limit > 0 and not budget("", [(str(at), limit) for at in range(gpus)], ratings).carries:
        limit -= 1
    return max(limit, 0.0)
