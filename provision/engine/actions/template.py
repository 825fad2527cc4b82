"""Render a Jinja2 file of the operator's and put it on the rig."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import ActionContext, RemoteCall
from provision.engine.results import Result
from provision.errors import RenderError
from provision.remote.files import ATTRIBUTES
from provision.remote.options import Option
from provision.templating.unknown import Unknown

OPTIONS = {
    **ATTRIBUTES,
    "src": Option("path", required=True),
    "dest": Option("path", required=True),
    "backup": Option("bool", default=False),
    "force": Option("bool", default=True),
    "validate": Option(),
}


def read_templates(args: dict[str, Any], context: ActionContext) -> str:
    """Return the text of the template file. Raises RenderError."""
    path = context.find(args["src"], "templates")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RenderError(f"can't read {path}: {error}", context.task.args.at("src")) from None


def act(args: dict[str, Any], context: ActionContext) -> RemoteCall | Result:
    """Return the rig's side is that of copy."""
    path = context.find(args["src"], "templates")
    content = context.templar.render_file(read_templates(args, context), str(path))
    if isinstance(content, Unknown):
        return Result(unknown=content.reason)
    rest = {name: value for name, value in args.items() if name != "src" and value is not None}
    return RemoteCall("copy", {**rest, "content": content})
