"""The operator's terminal: rich's Console, which shows nothing that a rig could steer it with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from provision.boundary.text import clean


class Terminal(Console):
    """A Console that cleans every text, whatever it is part of: tables, progress, errors.

    By default lines are not wrapped (`soft_wrap`) and markup is printed as it is.
    """

    def __init__(self, file: TextIO | None = None, *, error: bool = False, **options: Any) -> None:
        options = {"highlight": False, "soft_wrap": True, "markup": False, **options}
        super().__init__(file=file, stderr=error, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable, each with its text cleaned and encodable."""
        for segment in super().render(renderable, options):
            if segment.control:  # rich's own: the cursor of a live display
                yield segment
            else:
                yield Segment(self.printable(segment.text), segment.style)

    def printable(self, text: str) -> str:
        """Return the text cleaned, with `?` for what this terminal's encoding can't write."""
        return clean(text).encode(self.encoding, "replace").decode(self.encoding)
