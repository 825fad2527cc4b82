"""Renders templates and conditions with the variables of one host at one moment.

Only a `Text` is a template, and a mapping's keys never are. Variables are rendered when a template
uses them, so one may be made from others. What a template makes of a value that check mode cannot
predict is an `Unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jinja2
from jinja2.utils import missing

from provision.errors import Position, RenderError
from provision.inventory import yaml_source
from provision.inventory.secret_names import is_secret_name
from provision.inventory.yaml_source import YamlText, is_template
from provision.remote.options import suggestion
from provision.templating.names import SINGLE_NAME, condition_text
from provision.templating.sandbox import compile_template, render_natively, render_text
from provision.templating.unknown import PartialResult, Unknown, Witness, collapse, find_unknown

OMIT = "__omit_place_holder__"  # the value of Ansible's `omit`: the option is left out


class RenderedVariables:
    """Values of variables that were rendered, for several Templars of one host.

    Each is kept with the names that its rendering looked up, so that a change of one of these
    ends it: most of a run's time would go into rendering the same variables for each task.
    """

    def __init__(self) -> None:
        self._values: dict[str, tuple[Any, frozenset[str]]] = {}

    def find(self, name: str) -> tuple[Any, frozenset[str]] | None:
        """Return a variable's value and the names that it was made from, if it is kept."""
        return self._values.get(name)

    def keep(self, name: str, value: Any, made_from: frozenset[str]) -> None:
        """Keep a variable's value."""
        self._values[name] = (value, made_from)

    def forget(self, names: Collection[str]) -> None:
        """Drop what has one of these names, or was made from one of them."""
        changed = set(names)
        self._values = {
            name: kept
            for name, kept in self._values.items()
            if name not in changed and changed.isdisjoint(kept[1])
        }


class Templar:
    """Renders values.

    `layers` are mappings, the strongest last. `on_secret` gets the value of each variable that is
    rendered and has the name of a secret. `shared` keeps what is rendered for later Templars,
    whose layers are the same but for the names in `local_names`.
    """

    def __init__(
        self,
        layers: Iterable[Mapping[str, Any]],
        on_secret: Callable[[Any], None] | None = None,
        shared: RenderedVariables | None = None,
        local_names: Collection[str] = (),
    ) -> None:
        self._on_secret = on_secret
        self._layers = [layer for layer in layers if layer][::-1]
        self._shared = shared
        self._local_names = frozenset(local_names)
        self._rendered: dict[str, tuple[Any, frozenset[str]]] = {}
        self._rendering: list[str] = []
        self._looked_up: list[set[str]] = []  # by each rendering that is under way

    def names(self) -> set[str]:
        """Return all names that have a value."""
        return {name for layer in self._layers for name in layer}

    def render(self, value: Any) -> Any:
        """Return a value with every template in it rendered. Raises RenderError.

        What check mode cannot predict is an Unknown, alone or within the value.
        """
        if isinstance(value, YamlText):
            return self._render_text(value) if is_template(value) else value
        # What a person wrote may hold templates, but never in a key; plain dicts and lists come
        # from a rig.
        if isinstance(value, yaml_source.YamlMapping):
            return {key: self.render(item) for key, item in value.items()}
        if isinstance(value, yaml_source.YamlSequence):
            return [self.render(item) for item in value]
        return value

    def condition(self, value: Any, position: Position) -> bool | Unknown:
        """Return the truth of a condition (`when`, `that` …), which needs no braces."""
        if isinstance(value, bool):
            return value
        outcome = self.render(YamlText.at(condition_text(value), position))
        unknown = find_unknown(outcome)
        if unknown is not None:
            return unknown
        if isinstance(outcome, bool):
            return outcome
        if isinstance(outcome, str) and outcome.lower() in ("true", "false", ""):
            return outcome.lower() == "true"  # an extra variable from the command line is text
        raise RenderError(
            f"the condition '{value}' gives {outcome!r}, which is neither true nor false",
            position,
            "Compare it with something, or add '| bool' or '| length > 0'.",
        )

    def render_file(self, content: str, path: str) -> str | Unknown:
        """Return a template file's text, rendered. Raises RenderError with the line in it."""
        witness = Witness()
        try:
            text = render_text(content, self._look_up_for(witness))
        except jinja2.TemplateSyntaxError as error:
            at = Position(path, error.lineno, 1)
            raise RenderError(f"template error: {error.message}", at) from None
        except RenderError:
            raise
        except Exception as error:  # whatever a filter or an operator raises
            if not witness.source:
                at = Position(path, _failing_line(compile_template(content, True), error), 1)
                raise self._failure(error, at) from None
        return Unknown(witness.source) if witness.source else text

    def _render_text(self, text: YamlText) -> Any:
        witness = Witness()
        try:
            name = SINGLE_NAME.fullmatch(text)
            if name and (value := self._look_up(name.group(1))) is not missing:
                return value
            value = render_natively(str(text), self._look_up_for(witness))
        except jinja2.TemplateSyntaxError as error:
            raise RenderError(f"template error: {error.message}", text.position) from None
        except RenderError as error:
            error.position = error.position or text.position
            raise
        except Exception as error:  # whatever a filter or an operator raises
            if not witness.source:
                raise self._failure(error, text.position) from None
        return Unknown(witness.source) if witness.source else collapse(value)

    def _look_up_for(self, witness: Witness) -> Callable[[str], Any]:
        """Return a function that finds variables for one rendering."""

        def look_up(name: str) -> Any:
            value = self._look_up(name)
            return value.bind(witness) if isinstance(value, (Unknown, PartialResult)) else value

        return look_up

    def _look_up(self, name: str) -> Any:
        """Return a variable's rendered value, or jinja2's `missing`."""
        kept = self._rendered.get(name) or self._find_shared(name)
        if kept is None:
            for layer in self._layers:
                if name in layer:
                    break
            else:
                self._note_looked_up(name, frozenset())
                return missing
            kept = self._rendered[name] = self._render_variable(name, layer[name])
        self._note_looked_up(name, kept[1])
        return kept[0]

    def _find_shared(self, name: str) -> tuple[Any, frozenset[str]] | None:
        kept = self._shared.find(name) if self._shared is not None else None
        if kept is None or name in self._local_names or not self._local_names.isdisjoint(kept[1]):
            return None
        return kept

    def _note_looked_up(self, name: str, made_from: frozenset[str]) -> None:
        if self._looked_up:
            self._looked_up[-1].add(name)
            self._looked_up[-1].update(made_from)

    def _render_variable(self, name: str, written: Any) -> tuple[Any, frozenset[str]]:
        if name in self._rendering:
            cycle = " -> ".join([*self._rendering, name])
            raise RenderError(f"the variable '{name}' is made from itself: {cycle}")
        self._rendering.append(name)
        self._looked_up.append(set())
        try:
            value = self.render(written)
        finally:
            self._rendering.pop()
            made_from = frozenset(self._looked_up.pop())
        if value is not written:
            value = collapse(value)
            if self._on_secret and is_secret_name(name):
                self._on_secret(value)
            if self._shared is not None and self._local_names.isdisjoint({name, *made_from}):
                self._shared.keep(name, value, made_from)
        return value, made_from

    def _failure(self, error: Exception, position: Position) -> RenderError:
        message = str(error)
        if not isinstance(error, jinja2.UndefinedError):
            return RenderError(f"template error: {message}", position)
        failure = RenderError(f"undefined: {message}", position)
        if name := re.match(r"'(\w+)' is undefined", message):
            hint = suggestion(name.group(1), self.names())
            failure = RenderError(f"undefined variable '{name.group(1)}'{hint}", position)
        failure.undefined = True
        return failure


def _failing_line(template: jinja2.Template, error: Exception) -> int:
    """Return the line of a template file in which an error arose, by Jinja2's own line table."""
    line = 1
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line
