"""Secrets never reach the screen, a log or --json: they are masked at the edge.

So are control sequences, which a hostile rig might send to the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from provision.boundary.text import clean
from provision.inventory.secret_names import SECRET_NAME, SECRET_NAMES, is_secret_name
from provision.inventory.yaml_source import is_template
from provision.output.mining_secrets import MASK as MASK
from provision.output.mining_secrets import mask_commands_of_miners, mask_file

if TYPE_CHECKING:  # slow to import, and rarely needed here
    from jinja2 import nodes

SHORTEST = 4  # characters: masking a shorter secret would mask half of every line

_ASSIGNED = re.compile(
    rf"(?i)(?P<name>[\"']?\b{SECRET_NAMES}[\"']?\s*[=:]\s*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s,;}}\"']+)"
)
# Addresses of wallets: Ethereum and its kin, Bitcoin (bech32, base58), Kaspa, Ravencoin, Monero.
_WALLETS = re.compile(
    r"\b(?:0x[0-9a-fA-F]{40}|bc1[02-9ac-hj-np-z]{25,87}|kaspa:[02-9ac-hj-np-z]{50,80}|"
    r"[13R][1-9A-HJ-NP-Za-km-z]{25,34}|[48][1-9A-HJ-NP-Za-km-z]{94})\b"
)


class Redactor:
    """Masks known values, the values of settings with secret names, and wallet addresses."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        self.add(*secrets)

    def add(self, *values: Any) -> None:
        """Mask the texts in these values from now on, too."""
        texts = {text for value in values for text in _texts(value) if len(text) >= SHORTEST}
        if not texts <= set(self._secrets):
            self._secrets = tuple(sorted({*self._secrets, *texts}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """`text` with every secret masked, and nothing that a terminal would obey."""
        text = clean(text)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = _ASSIGNED.sub(lambda match: match["name"] + MASK, text)
        return mask_commands_of_miners(_WALLETS.sub(MASK, text))

    def file(self, path: str, text: str) -> str:
        """Return the content of a rig's file with every secret masked, those of its place, too."""
        return self.text(mask_file(path, text))

    def value(self, value: Any, name: str = "") -> Any:
        """Return a result with every secret in it masked, at any depth."""
        secret = bool(name and SECRET_NAME.fullmatch(name))
        if isinstance(value, Mapping):
            if "before_header" in value or "after_header" in value:
                value = self._diff(value)
            return {
                self.text(key) if isinstance(key, str) else key: self.value(
                    item, name if secret else str(key)
                )
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.value(item, name) for item in value]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return value
        if secret and value != "":
            return MASK
        return self.text(value) if isinstance(value, str) else self._number(value)

    def _diff(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Return a difference of a file, masked by the file's place."""
        path = str(part.get("after_header") or part.get("before_header"))
        texts = {
            name: mask_file(path, str(part[name])) for name in ("before", "after") if name in part
        }
        return {**part, **texts}

    def _number(self, value: float) -> Any:
        return MASK if str(value) in self._secrets else value


def secrets_of(
    variables: Mapping[str, Any], scope: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Yield the values, at any depth, of variables with names of secrets.

    Nothing is rendered: of a template, what it refers to in `scope` (by default `variables`
    itself) is a secret. What it is rendered to is masked when that happens (`Redactor.add`).
    """
    scope = variables if scope is None else scope
    for name, value in variables.items():
        if is_secret_name(str(name)):
            yield from _texts(value, scope)
        else:
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(item, Mapping):
                    yield from secrets_of(item, scope)


def _texts(
    value: Any, scope: Mapping[str, Any] | None = None, seen: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield the texts and numbers in a value; with a scope, those that its templates refer to."""
    if isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item, scope, seen)
    elif scope is not None and is_template(value):
        if value not in seen:  # a variable may refer to itself
            yield from _texts_of_template(value, scope, (*seen, value))
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        yield str(value)


def _texts_of_template(
    template: str, scope: Mapping[str, Any], seen: tuple[str, ...]
) -> Iterator[str]:
    import jinja2
    from jinja2 import nodes

    extensions = ["jinja2.ext.loopcontrols", "jinja2.ext.do"]
    try:
        # Parsed, never rendered.
        tree = jinja2.Environment(extensions=extensions).parse(template)  # nosec B701
    except jinja2.TemplateSyntaxError:
        return  # rendering reports it
    inner: set[int] = set()  # nodes that are part of a longer path
    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Name)):
        if id(node) in inner:
            continue
        path, below = _static_path(node)
        inner.update(below)
        yield from _texts(_look_up(path, scope), scope, seen)
    for call in tree.find_all(nodes.Filter):
        if call.name in ("default", "d"):
            yield from (str(arg.value) for arg in call.args if isinstance(arg, nodes.Const))


def _static_path(node: nodes.Node) -> tuple[list[Any], set[int]]:
    """Return the keys of `a.b['c']`, and the nodes of its parts; no keys where one is computed."""
    from jinja2 import nodes

    keys: list[Any] = []
    below: set[int] = set()
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        if isinstance(node, nodes.Getattr):
            keys.insert(0, node.attr)
        elif isinstance(node.arg, nodes.Const):
            keys.insert(0, node.arg.value)
        else:
            keys.clear()  # any item may be meant
        node = node.node
        below.add(id(node))
    return ([node.name, *keys] if isinstance(node, nodes.Name) else []), below


def _look_up(path: list[Any], scope: Any) -> Any:
    for key in path:
        try:
            scope = scope[key]
        except (KeyError, IndexError, TypeError):
            return None
    return scope if path else None
