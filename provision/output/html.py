"""Pages made from templates: HTML and Markdown in which a rig's words are text and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from provision.boundary.text import clean, escape_markdown


def render_page(template: Path, **values: Any) -> str:
    """Render a template file with these values; its name ends with .html.j2 or .md.j2.

    HTML is escaped, except for Markup (the plots' SVG); in Markdown each value is one line of text.
    """
    is_html = template.name.endswith(".html.j2")
    environment = jinja2.Environment(
        autoescape=is_html,  # Markdown is not HTML  # nosec B701
        finalize=_clean if is_html else _as_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)


def _clean(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _as_markdown(value: Any) -> Any:
    return escape_markdown(value) if isinstance(value, str) else value
