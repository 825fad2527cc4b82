"""Show a message, or a variable with its value."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import ActionContext
from provision.engine.results import Result
from provision.errors import RenderError
from provision.inventory.yaml_source import YamlText
from provision.remote.options import Option
from provision.templating.unknown import find_unknown

OPTIONS = {
    "msg": Option("raw", default="Hello world!"),
    "var": Option("raw"),
    "verbosity": Option("int", default=0),
}
UNRENDERED = ("var",)


def act(args: dict[str, Any], context: ActionContext) -> Result:
    """Return the report shows the result to the operator."""
    if args["verbosity"] > 0:
        return Result({"skip_reason": "Verbosity threshold not met."}, skipped=True)
    if args["var"] is not None:
        name = YamlText.at(f"{{{{ {args['var']} }}}}", context.task.args.at("var"))
        try:
            value = context.templar.render(name)
        except RenderError as error:
            if not error.undefined:
                raise
            value = f"VARIABLE IS NOT DEFINED! {error.message}"
        unknown = find_unknown(value)
        if unknown is not None:
            return Result(unknown=unknown.reason)
        return Result({}, shown={str(args["var"]): value})
    return Result({"msg": args["msg"]}, shown=args["msg"])
