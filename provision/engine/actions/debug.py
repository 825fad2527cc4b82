"""Show a message, or a variable with its value."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import Context
from provision.errors import RenderError
from provision.inventory.yaml_source import Text
from provision.remote.options import Option

OPTIONS = {
    "msg": Option("raw", default="Hello world!"),
    "var": Option("raw"),
    "verbosity": Option("int", default=0),
}
UNRENDERED = ("var",)


def act(args: dict[str, Any], context: Context) -> dict[str, Any]:
    """The result is shown to the operator by the report."""
    if args["verbosity"] > 0:
        return {"changed": False, "skipped": True, "skip_reason": "Verbosity threshold not met."}
    if args["var"] is not None:
        name = Text.at(f"{{{{ {args['var']} }}}}", context.task.args.at("var"))
        try:
            value = context.templar.render(name)
        except RenderError as error:
            if not error.undefined:
                raise
            value = f"VARIABLE IS NOT DEFINED! {error.message}"
        return {"changed": False, "shown": {str(args["var"]): value}}
    return {"changed": False, "msg": args["msg"], "shown": args["msg"]}
