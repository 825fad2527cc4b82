"""What a first conversion took, and what it would take if only line and reboot took time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.measure.line_server import SentFile

#: How much longer than line and reboot a conversion may take, and three rigs than one.
MOST_OF_LINE, MOST_OF_ONE = 1.3, 1.4


@dataclass(frozen=True)
class Conversion:
    """A run of `fab provision` on new rigs.

    began, ended: seconds since 1970. reboot_seconds: of the rig that took longest.
    transfers: what the server at the end of the line sent.
    """

    began: float
    ended: float
    reboot_seconds: float
    transfers: Sequence[SentFile]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    @property
    def needed_bytes(self) -> int:
        """The bytes of all files that were fetched, each counted once."""
        return sum({transfer.path: transfer.size for transfer in self.transfers}.values())

    @property
    def sent_bytes(self) -> int:
        """The bytes that were sent, those of files that were fetched repeatedly as well."""
        return sum(transfer.sent for transfer in self.transfers)

    @property
    def idle_seconds(self) -> float:
        """How long nothing was sent."""
        spans = ((transfer.began, transfer.ended) for transfer in self.transfers)
        return self.seconds - measure_union(spans, self.began, self.ended)

    def ideal_seconds(self, bytes_per_second: float) -> float:
        """Return how long the line takes for the bytes, and the reboot after it."""
        return self.needed_bytes / bytes_per_second + self.reboot_seconds

    def ratio(self, bytes_per_second: float) -> float:
        """Return how many times as long it took."""
        return self.seconds / self.ideal_seconds(bytes_per_second)


def measure_union(spans: Iterable[tuple[float, float]], first: float, last: float) -> float:
    """Return the length of the union of spans, as far as it is between `first` and `last`.

    >>> measure_union([(0, 2), (1, 3), (5, 9)], 0.5, 6)
    3.5
    """
    length, end = 0.0, first
    for begin, stop in sorted(spans):
        begin, stop = max(begin, end), min(stop, last)
        if stop > begin:
            length += stop - begin
            end = stop
    return length
