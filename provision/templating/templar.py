"""Templates and conditions, evaluated as Ansible evaluates them (Jinja2, native types, strict).

Only a `Text` is a template; it runs in Jinja2's sandbox, and a mapping's keys never are templates.
Variables are rendered when they are used, so one may be built from others. A registered variable
whose task has not run yet is `Pending`: touching it raises `NotYetKnown`, and the runner sends what
it has, waits, and renders again; a task of which check mode can't tell the outcome leaves an
`Unknown`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import stat
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Set,
    ValuesView,
)
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import Undefined, nodes
from jinja2.compiler import CodeGenerator
from jinja2.nativetypes import NativeCodeGenerator, NativeEnvironment
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from provision.errors import Position, RenderError
from provision.inventory import yaml_source
from provision.inventory.secret_names import is_secret_name
from provision.inventory.yaml_source import Text, is_template
from provision.remote.options import suggestion
from provision.templating import filters

OMIT = "__omit_place_holder__"  # the value of Ansible's `omit`: the option is left out
_COMPILED_FORM = 3  # changes with how templates are compiled: older ones in the cache don't serve
# What asks only whether there is a value.
_OF_ABSENCE = frozenset(("default", "d", "defined", "undefined"))
# What a template may give that is a list to whoever reads it.
_LISTS = (Iterator, KeysView, ValuesView, ItemsView, Set)
_NAME = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


class NotYetKnown(Exception):
    """A value that a task sent to the rig, or yet to be sent, will give."""


class UnknownInCheckMode(Exception):
    """A value that only a real run gives."""


class Pending:
    """Stands for a value that is not here yet: any use of it raises.

    Asking whether it is defined is no use of it, when it is `certain` that it will be.
    """

    def __init__(self, error: Exception | None = None, certain: bool = True) -> None:
        object.__setattr__(self, "_error", error or NotYetKnown())
        object.__setattr__(self, "_certain", certain)

    def is_certain(self) -> bool:
        """Whether there will be a value."""
        certain: bool = object.__getattribute__(self, "_certain")
        return certain

    def _raise(self, *_: Any, **__: Any) -> NoReturn:
        error: Exception = object.__getattribute__(self, "_error")
        raise error

    __getattr__ = __getitem__ = __str__ = __repr__ = __iter__ = __len__ = __bool__ = _raise
    __contains__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = _raise
    __int__ = __float__ = __call__ = __hash__ = _raise


class _KeepConstants(NativeCodeGenerator):
    """Jinja2 folds a constant expression to text (and parses it again): keep it as it is."""

    def _output_child_to_const(
        self, node: nodes.Expr, frame: Any, finalize: CodeGenerator._FinalizeInfo
    ) -> Any:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)


class _Native(SandboxedEnvironment, NativeEnvironment):
    """Ansible's own rule for types: a single expression keeps its type, anything else is text."""

    code_generator_class = _KeepConstants

    @staticmethod
    def concat(values: Iterable[Any]) -> Any:
        parts = list(values)
        for part in parts:
            if isinstance(part, Undefined):
                part._fail_with_undefined_error()
        if len(parts) == 1:
            return list(parts[0]) if isinstance(parts[0], _LISTS) else parts[0]
        return "".join(str(_nothing_for_none(part)) for part in parts)


class _Variables(Context):
    """Looks a name up in the Templar that renders, so that its value is rendered too."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        templar: Templar | None = self.parent.get("_templar")
        found = templar.lookup(key) if templar else missing
        return super().resolve_or_missing(key) if found is missing else found


def _cache_folder() -> Path:
    """Where compiled templates are kept between runs: compiling them is most of a run's work.

    What is in it runs here. Raises OSError where others may write to it.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "deeprig" / "templates"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat(follow_symlinks=False)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def _careful(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or a test that raises for what is not here yet, and gives a list for an iterator."""

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        for value in args:
            if isinstance(value, Pending) and (name not in _OF_ABSENCE or not value.is_certain()):
                value._raise()
        found = function(*args, **named)
        return list(found) if isinstance(found, Iterator) else found

    return call


class _Sources(jinja2.BaseLoader):
    """Gives Jinja2 a template's text under a name that is a digest of it.

    Jinja2 writes a template's name into the Python code that it generates, in places unescaped (an
    inline `if` without `else`): a name that held the text would run that text.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def register(self, text: str) -> str:
        """Return the name under which `text` can be loaded."""
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        self._texts[name] = text
        return name

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Return the text of a registered name."""
        return self._texts[template], None, None


def _refuse_include(*_: Any) -> NoReturn:
    raise jinja2.TemplateError("include, import and extends are not supported")


def _nothing_for_none(value: Any) -> Any:
    """As Ansible: a None within a text is nothing."""
    return "" if value is None else value


def _environment(kind: type[jinja2.Environment]) -> jinja2.Environment:
    try:
        pattern = f"{kind.__name__}-{_COMPILED_FORM}-%s"
        cache = jinja2.FileSystemBytecodeCache(str(_cache_folder()), pattern)
    except OSError:
        cache = None  # a home that is not ours alone costs time, nothing else
    environment = kind(
        loader=_Sources(),
        bytecode_cache=cache,
        cache_size=-1,
        undefined=jinja2.StrictUndefined,
        finalize=None if kind is _Native else _nothing_for_none,
        trim_blocks=True,  # as ansible.builtin.template
        keep_trailing_newline=True,
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"],
    )
    environment.context_class = _Variables
    environment.join_path = _refuse_include  # type: ignore[method-assign,assignment]
    tables: tuple[tuple[dict[str, Any], dict[str, Callable[..., Any]]], ...] = (
        (environment.filters, filters.FILTERS),
        (environment.tests, filters.TESTS),
    )
    for table, ours in tables:
        table.update(ours)
        table.update({name: _careful(name, function) for name, function in table.items()})
    return environment


@functools.cache
def _native() -> jinja2.Environment:
    return _environment(_Native)


@functools.cache
def _textual() -> jinja2.Environment:
    return _environment(SandboxedEnvironment)


@functools.lru_cache(maxsize=4096)
def _compiled(text: str, whole_file: bool) -> jinja2.Template:
    environment = _textual() if whole_file else _native()
    assert isinstance(environment.loader, _Sources)
    return environment.get_template(environment.loader.register(text))


def condition_text(value: Any) -> str:
    """A condition, which needs no braces, as a template."""
    return str(value) if is_template(value) else f"{{{{ {value} }}}}"


def compile_ahead(values: Iterable[Any], conditions: Iterable[Any]) -> None:
    """Compile what will be rendered later; what is wrong in it is told then."""
    for condition in conditions:
        if not isinstance(condition, bool):
            _compile_quietly(condition_text(condition))
    for value in values:
        if isinstance(value, dict):
            compile_ahead(value.values(), ())
        elif isinstance(value, list):
            compile_ahead(value, ())
        elif is_template(value) and not _NAME.fullmatch(value):
            _compile_quietly(str(value))


def _compile_quietly(text: str) -> None:
    with contextlib.suppress(jinja2.TemplateSyntaxError):
        _compiled(text, False)


class Templar:
    """Renders values with the variables of one host at one moment.

    `layers` are mappings, the strongest last. `on_secret` gets the value of each variable that is
    rendered and has the name of a secret.
    """

    def __init__(
        self,
        layers: Iterable[Mapping[str, Any]],
        on_secret: Callable[[Any], None] | None = None,
    ) -> None:
        self._on_secret = on_secret
        self._layers = [layer for layer in layers if layer][::-1]
        self._rendered: dict[str, Any] = {}
        self._rendering: list[str] = []

    def lookup(self, name: str) -> Any:
        """A variable's rendered value, or jinja2's `missing`."""
        if name in self._rendered:
            return self._rendered[name]
        for layer in self._layers:
            if name in layer:
                break
        else:
            return missing
        if name in self._rendering:
            cycle = " -> ".join([*self._rendering, name])
            raise RenderError(f"the variable '{name}' is made from itself: {cycle}")
        self._rendering.append(name)
        try:
            written = layer[name]
            self._rendered[name] = self._render(written)
        finally:
            self._rendering.pop()
        if self._on_secret and self._rendered[name] is not written and is_secret_name(name):
            self._on_secret(self._rendered[name])
        return self._rendered[name]

    def names(self) -> set[str]:
        """All names that have a value."""
        return {name for layer in self._layers for name in layer}

    def render(self, value: Any) -> Any:
        """A value with every template in it rendered. Raises RenderError, NotYetKnown."""
        rendered = self._render(value)
        _touch(rendered)
        return rendered

    def condition(self, value: Any, position: Position) -> bool:
        """The truth of a condition (`when`, `that` …), which needs no braces."""
        if isinstance(value, bool):
            return value
        outcome = self.render(Text.at(condition_text(value), position))
        if isinstance(outcome, bool):
            return outcome
        if isinstance(outcome, str) and outcome.lower() in ("true", "false", ""):
            return outcome.lower() == "true"  # an extra variable from the command line is text
        raise RenderError(
            f"the condition '{value}' gives {outcome!r}, which is neither true nor false",
            position,
            "Compare it with something, or add '| bool' or '| length > 0'.",
        )

    def render_file(self, content: str, path: str) -> str:
        """A template file's text, rendered. Raises RenderError with the line in that file."""
        try:
            template = _compiled(content, True)
            return "".join(template.root_render_func(self._context(template)))
        except jinja2.TemplateSyntaxError as error:
            at = Position(path, error.lineno, 1)
            raise RenderError(f"template error: {error.message}", at) from None
        except (NotYetKnown, UnknownInCheckMode, RenderError):
            raise
        except Exception as error:  # whatever a filter or an operator raises
            at = Position(path, _failing_line(template, error), 1)
            raise self._failure(error, at) from None

    def _context(self, template: jinja2.Template) -> Context:
        return template.new_context({"_templar": self}, shared=False)

    def _render(self, value: Any) -> Any:
        if isinstance(value, Text):
            return self._render_text(value) if is_template(value) else value
        # What a person wrote may hold templates, but never in a key; plain dicts and lists come
        # from a rig.
        if isinstance(value, yaml_source.Mapping):
            return {key: self._render(item) for key, item in value.items()}
        if isinstance(value, yaml_source.Sequence):
            return [self._render(item) for item in value]
        return value

    def _render_text(self, text: Text) -> Any:
        name = _NAME.fullmatch(text)
        try:
            if name:  # the commonest template of all needs no Jinja2
                found = self.lookup(name.group(1))
                if found is not missing:
                    return found
            template = _compiled(str(text), False)
            return _Native.concat(template.root_render_func(self._context(template)))
        except jinja2.TemplateSyntaxError as error:
            raise RenderError(f"template error: {error.message}", text.position) from None
        except RenderError as error:
            error.position = error.position or text.position
            raise
        except (NotYetKnown, UnknownInCheckMode):
            raise
        except Exception as error:  # whatever a filter or an operator raises
            raise self._failure(error, text.position) from None

    def _failure(self, error: Exception, position: Position) -> RenderError:
        message = str(error)
        if not isinstance(error, jinja2.UndefinedError):
            return RenderError(f"template error: {message}", position)
        told = RenderError(f"undefined: {message}", position)
        if name := re.match(r"'(\w+)' is undefined", message):
            hint = suggestion(name.group(1), self.names())
            told = RenderError(f"undefined variable '{name.group(1)}'{hint}", position)
        told.undefined = True
        return told


def _failing_line(template: jinja2.Template, error: Exception) -> int:
    """The line of a template file in which an error arose, by Jinja2's own line table."""
    line = 1
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line


def _touch(value: Any) -> None:
    """Raise if a Pending hides in a rendered value."""
    if isinstance(value, Pending):
        value._raise()
    if isinstance(value, dict):
        for item in value.values():
            _touch(item)
    elif isinstance(value, list):
        for item in value:
            _touch(item)
