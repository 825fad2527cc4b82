"""The Jinja2 environments that render Ansible's templates: sandboxed, native types, strict.

Compiled templates are kept between runs, because compiling them is most of a run's work. Each holds
the names of the variables that it uses.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Set,
    ValuesView,
)
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import Undefined, meta, nodes
from jinja2.compiler import CodeGenerator
from jinja2.nativetypes import NativeCodeGenerator, NativeEnvironment
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from provision.paths import cache_folder
from provision.templating import filters
from provision.templating.unknown import PartialResult, Unknown

_COMPILED_FORM = 4  # changes with how templates are compiled: older ones in the cache don't serve
# What asks only whether there is a value.
_OF_ABSENCE = frozenset(("default", "d", "defined", "undefined"))
# Results of templates that become lists.
_LISTS = (Iterator, KeysView, ValuesView, ItemsView, Set)
_NAMES = "names_of_variables"  # a global of a compiled template


class _KeepConstants(NativeCodeGenerator):
    """Jinja2 folds a constant expression to text (and parses it again): keep it as it is."""

    def _output_child_to_const(
        self, node: nodes.Expr, frame: Any, finalize: CodeGenerator._FinalizeInfo
    ) -> Any:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)


class _Textual(SandboxedEnvironment):
    """Renders text; a compiled template holds the names of the variables that it uses."""

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        names = sorted(meta.find_undeclared_variables(source))
        return f"{super()._generate(source, name, filename, defer_init)}\n{_NAMES} = {names!r}\n"

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a key of what check mode cannot predict, never an attribute of its class."""
        if isinstance(obj, Unknown) and not attribute.startswith("_"):
            return obj.use()
        if isinstance(obj, PartialResult) and not hasattr(dict, attribute):
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Native(_Textual, NativeEnvironment):
    """Ansible's own rule for types: a single expression keeps its type, anything else is text."""

    code_generator_class = _KeepConstants

    @staticmethod
    def concat(values: Iterable[Any]) -> Any:
        parts = list(values)
        for part in parts:
            if isinstance(part, Undefined):
                part._fail_with_undefined_error()
        if any(isinstance(part, Unknown) for part in parts):
            return next(part for part in parts if isinstance(part, Unknown))
        if len(parts) == 1:
            return list(parts[0]) if isinstance(parts[0], _LISTS) else parts[0]
        return "".join(str(_nothing_for_none(part)) for part in parts)


class _Variables(Context):
    """Looks a name up in the variables of the rendering, where its value is rendered, too."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        look_up: Callable[[str], Any] | None = self.parent.get("_look_up")
        value = look_up(key) if look_up else missing
        return super().resolve_or_missing(key) if value is missing else value


def _cache_folder() -> Path:
    """Return the folder of compiled templates, whose compilation is most of a run's work.

    What is in it runs here. Raises OSError where others may write to it.
    """
    folder = cache_folder() / "templates"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat(follow_symlinks=False)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def _propagate_unknown(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter or a test: of an Unknown it makes an Unknown, of an iterator a list."""

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        for value in args:
            if isinstance(value, Unknown) and not (
                name in _OF_ABSENCE and value.is_certainly_defined()
            ):
                return value.use()
        result = function(*args, **named)
        return list(result) if isinstance(result, Iterator) else result

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


def _environment(kind: type[_Textual]) -> jinja2.Environment:
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
        table.update({name: _propagate_unknown(name, function) for name, function in table.items()})
    return environment


@functools.cache
def _native() -> jinja2.Environment:
    return _environment(_Native)


@functools.cache
def _textual() -> jinja2.Environment:
    return _environment(_Textual)


@functools.lru_cache(maxsize=4096)
def compile_template(text: str, whole_file: bool) -> jinja2.Template:
    """Return a template, compiled; `whole_file`: it renders to text. Raises TemplateSyntaxError."""
    environment = _textual() if whole_file else _native()
    assert isinstance(environment.loader, _Sources)
    return environment.get_template(environment.loader.register(text))


def names_in_template(text: str, whole_file: bool) -> frozenset[str]:
    """Return the names of the variables that a template uses. Raises TemplateSyntaxError."""
    function: Any = compile_template(text, whole_file).root_render_func
    return frozenset(function.__globals__[_NAMES])


def render_natively(text: str, look_up: Callable[[str], Any]) -> Any:
    """Render a template of a YAML value: one expression keeps its type.

    look_up: returns a variable's value, or jinja2's `missing`. Raises what a template raises.
    """
    template = compile_template(text, False)
    context = template.new_context({"_look_up": look_up}, shared=False)
    return _Native.concat(template.root_render_func(context))


def render_text(text: str, look_up: Callable[[str], Any]) -> str:
    """Render a template file. Raises what a template raises."""
    template = compile_template(text, True)
    context = template.new_context({"_look_up": look_up}, shared=False)
    return "".join(template.root_render_func(context))
