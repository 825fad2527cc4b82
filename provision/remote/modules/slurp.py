"""Return a file's content, base64-encoded, as Ansible's slurp does."""

from __future__ import annotations

import base64
from typing import Any

from provision.remote.files import read_bytes
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option

OPTIONS = {
    "src": Option("path", required=True, aliases=("path",)),
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: content (base64), encoding, source."""
    content = read_bytes(args["src"], reading=True)
    if content is None:
        raise ModuleFailure(f"file not found: {args['src']}")
    return {
        "changed": False,
        "content": base64.b64encode(content).decode(),
        "encoding": "base64",
        "source": args["src"],
    }
