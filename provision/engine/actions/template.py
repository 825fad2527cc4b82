"""Render a Jinja2 file of the operator's and put it on the rig."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import Context, Remote
from provision.errors import RenderError
from provision.remote.files import ATTRIBUTES
from provision.remote.options import Option

OPTIONS = {
    **ATTRIBUTES,
    "src": Option("path", required=True),
    "dest": Option("path", required=True),
    "backup": Option("bool", default=False),
    "force": Option("bool", default=True),
    "validate": Option(),
}


def act(args: dict[str, Any], context: Context) -> Remote:
    """The rig's side of it is copy's."""
    path = context.find(args["src"], "templates")
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RenderError(f"can't read {path}: {error}", context.task.args.at("src")) from None
    content = context.templar.render_file(source, str(path))
    rest = {name: value for name, value in args.items() if name != "src" and value is not None}
    return Remote("copy", {**rest, "content": content})
