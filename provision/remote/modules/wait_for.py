"""Wait for a port, a file or a text in it, as Ansible's wait_for does.

Not here: `state: drained`, `exclude_hosts`, `active_connection_states`.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any

from provision.remote.files import read_bytes
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option

OPTIONS = {
    "host": Option(default="127.0.0.1"),
    "port": Option("int"),
    "path": Option("path"),
    "search_regex": Option(),
    "state": Option(default="started", choices=("absent", "present", "started", "stopped")),
    "timeout": Option("int", default=300),
    "connect_timeout": Option("int", default=5),
    "delay": Option("int", default=0),
    "sleep": Option("int", default=1),
    "msg": Option(),
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: elapsed, state, port, path, search_regex, match_groups."""
    if args["port"] is not None and args["path"]:
        raise ModuleFailure("port and path parameter can not both be passed to wait_for")
    if host.check:
        return {"changed": False, "skipped": True, "msg": "nothing is waited for in check mode"}
    began = time.monotonic()
    result: Result = {"changed": False, "state": args["state"], "match_groups": []}
    result.update({name: args[name] for name in ("port", "path", "search_regex")})
    time.sleep(args["delay"])
    if args["port"] is None and not args["path"]:
        time.sleep(max(args["timeout"] - args["delay"], 0))
        return {**result, "elapsed": int(time.monotonic() - began)}
    there = args["state"] in ("started", "present")
    while _is_there(args, result) != there:
        if time.monotonic() - began >= args["timeout"]:
            elapsed = int(time.monotonic() - began)
            raise ModuleFailure(args["msg"] or _timeout_message(args), elapsed=elapsed)
        time.sleep(args["sleep"])
    return {**result, "elapsed": int(time.monotonic() - began)}


def _is_there(args: dict[str, Any], result: Result) -> bool:
    if args["path"]:
        return _in_file(args["path"], args["search_regex"], result)
    try:
        address = (args["host"], args["port"])
        with socket.create_connection(address, args["connect_timeout"]) as peer:
            return not args["search_regex"] or _in_answer(peer, args, result)
    except OSError:
        return False


def _in_file(path: str, expression: str | None, result: Result) -> bool:
    if not expression:
        return os.path.exists(path)
    content = read_bytes(path, reading=True)
    return content is not None and _search_text(
        expression, content.decode("utf-8", "replace"), result
    )


def _in_answer(peer: socket.socket, args: dict[str, Any], result: Result) -> bool:
    text = ""
    while not _search_text(args["search_regex"], text, result):
        piece = peer.recv(1024)
        if not piece:
            return False
        text += piece.decode("utf-8", "replace")
    return True


def _search_text(expression: str, text: str, result: Result) -> bool:
    match = re.search(expression, text, re.MULTILINE)
    if match:
        result.update(match_groups=list(match.groups()), match_groupdict=match.groupdict())
    return bool(match)


def _timeout_message(args: dict[str, Any]) -> str:
    what = args["path"] or f"{args['host']}:{args['port']}"
    text = f" to hold {args['search_regex']}" if args["search_regex"] else ""
    state = "be gone" if args["state"] in ("stopped", "absent") else "be there"
    return f"Timeout when waiting {args['timeout']} s for {what}{text or f' to {state}'}"
