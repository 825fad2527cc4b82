"""Every match of a regular expression in a file, as Ansible's replace does it.

Not here: `attributes`, `unsafe_writes`, SELinux.
"""

from __future__ import annotations

import os
import re
from typing import Any

from provision.remote.files import ATTRIBUTES, is_folder, put_content, read_bytes
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modules.lineinfile import missing_file_result
from provision.remote.options import Option

OPTIONS = {
    "path": Option("path", required=True, aliases=("dest", "destfile", "name")),
    "regexp": Option(required=True),
    "replace": Option(default=""),
    "after": Option(),
    "before": Option(),
    "backup": Option("bool", default=False),
    "validate": Option(),
    "encoding": Option(default="utf-8"),
    **ATTRIBUTES,
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: msg, backup_file."""
    path = os.path.expanduser(args["path"])
    if is_folder(path):
        raise ModuleFailure(f"Path {path} is a directory !", rc=256)
    raw = read_bytes(path)
    if raw is None:
        return missing_file_result(path, host)
    try:
        text = raw.decode(args["encoding"])
        start, end = section(text, args["after"], args["before"])
        part, count = re.subn(args["regexp"], args["replace"], text[start:end], flags=re.MULTILINE)
    except (UnicodeDecodeError, LookupError) as error:
        raise ModuleFailure(f"can't read {path} as {args['encoding']}: {error}") from None
    except re.error as error:
        raise ModuleFailure(f"Unable to process replace due to error: {error}") from None
    except LookupFailure as failure:
        return {"changed": False, "msg": str(failure)}
    after = text[:start] + part + text[end:]
    result = put_content(host, path, after.encode(args["encoding"]), args)
    return {**result, "msg": f"{count} replacements made" if after != text else ""}


class LookupFailure(Exception):
    """The section between `after` and `before` is not there: nothing to do."""


def section(text: str, after: str | None, before: str | None) -> tuple[int, int]:
    """Return start and end of the part between `after` and `before`. Raises LookupFailure."""
    if not after and not before:
        return 0, len(text)
    if after and before:
        expression = f"{after}(?P<subsection>.*?){before}"
    else:
        expression = f"{after}(?P<subsection>.*)" if after else f"(?P<subsection>.*){before}"
    match = re.search(expression, text, re.DOTALL)
    if not match:
        raise LookupFailure(
            f"Pattern for before/after params did not match the given file: {expression}"
        )
    return match.span("subsection")
