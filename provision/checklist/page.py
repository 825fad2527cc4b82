"""A checklist to print: Markdown, or one HTML file that needs nothing else."""

from __future__ import annotations

import time
from pathlib import Path

from provision.checklist.checklist import Checklist, describe_board
from provision.output.html import render_page

FOLDER = Path(__file__).parent
TEMPLATES = {".md": "page.md.j2", ".html": "page.html.j2"}


def render(made: Checklist, kind: str) -> str:
    """Return the page. kind: a key of TEMPLATES."""
    return render_page(
        FOLDER / TEMPLATES[kind],
        made=made,
        case=made.case,
        about=describe_board(made.case),
        date=time.strftime("%Y-%m-%d %H:%M"),
    )
