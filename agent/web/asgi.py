"""Answers one ASGI request by a handler that knows nothing of ASGI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from agent.web.messages import HttpRequest, HttpResponse, error

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = HttpResponse | Awaitable[HttpResponse]
Handler = Callable[[HttpRequest], Answer]

log = logging.getLogger("deeprig-agent")


async def answer(handle: Handler, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the handler's answer. A request's body is read to its end, and not used.

    A handler that fails costs its request an answer with status 500, and nothing else.
    """
    request = HttpRequest.parse(scope)
    if request.has_body and not await read_body(receive):
        return
    response: HttpResponse | None
    try:
        result = handle(request)
        if isinstance(result, HttpResponse):
            response = result
        else:
            response = await wait_unless_gone(result, receive, request.has_body)
    except Exception:
        log.exception("%s %s", request.method, request.path)
        response = error(HTTPStatus.INTERNAL_SERVER_ERROR)
    if response is None:
        return
    headers = response.encode_headers()
    if request.keeps_old_connection:
        headers.append((b"connection", b"keep-alive"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def read_body(receive: Receive) -> bool:
    """Read the request's body to its end; return False if the client leaves before."""
    while (message := await receive())["type"] == "http.request":
        if not message.get("more_body"):
            return True
    return False


async def wait_unless_gone(
    work: Awaitable[HttpResponse], receive: Receive, is_body_read: bool
) -> HttpResponse | None:
    """Return the response; cancel the work and return None if the client disconnects before."""

    async def wait_for_disconnect() -> None:
        if is_body_read or await read_body(receive):
            await receive()

    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(wait_for_disconnect())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()
