"""A checklist to print: Markdown, or one HTML file that needs nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import jinja2

from provision.checklist.checklist import Checklist, about

FOLDER = Path(__file__).parent
TEMPLATES = {".md": "page.md.j2", ".html": "page.html.j2"}


def render(made: Checklist, kind: str) -> str:
    """The page. kind: a key of TEMPLATES."""
    name = TEMPLATES[kind]
    environment = jinja2.Environment(
        autoescape=kind == ".html", trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((FOLDER / name).read_text(encoding="utf-8"))
    return template.render(
        made=made, case=made.case, about=about(made.case), date=time.strftime("%Y-%m-%d %H:%M")
    )
