"""Templates, conditions and filters as in Ansible."""

from __future__ import annotations

from typing import Any

import pytest

from provision.errors import Position, RenderError
from provision.inventory import yaml_source
from provision.inventory.yaml_source import YamlText
from provision.templating.names import names_in
from provision.templating.templar import Templar
from provision.templating.unknown import PartialResult, Unknown

VARIABLES = yaml_source.parse_yaml(
    """
one: 1
two: "{{ one + 1 }}"
words: [b, a, b]
rows: [{name: x, size: 1}, {name: y, size: 2}]
nested: {deep: "{{ words | unique }}"}
version: "580.95.05"
circle: "{{ square }}"
square: "{{ circle }}"
derived: {x: "{{ later }}"}
""",
    "vars.yml",
)
AT = Position("play.yml", 3, 5)
FROM_RIG = {"message": "{{ one }}", "done": {"rc": 0, "failed": False, "changed": True}}


@pytest.fixture
def templar() -> Templar:
    unknown = {
        "later": Unknown("'stdout' of an earlier task"),
        "read": PartialResult({"failed": False}, "an earlier task"),
    }
    return Templar([VARIABLES, FROM_RIG, unknown])


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ two }}", 2),
        ("{{ one }}{{ two }}", "12"),
        ("{{ words }}", ["b", "a", "b"]),
        ("{{ nested }}", {"deep": ["b", "a"]}),
        ("{{ message }}", "{{ one }}"),
        ("{{ {'a': one} }}", {"a": 1}),
        ("{{ nothing | default('x') }}", "x"),
        ("{{ '' | default('x', true) }}", "x"),
        ("{{ 'yes' | bool }}", True),
        ("{{ rows | selectattr('size', 'gt', 1) | map(attribute='name') | list }}", ["y"]),
        ("{{ ['one'] | map('extract', {'one': {'n': 1}}, 'n') | list }}", [1]),
        ("{{ {'a': 1} | combine({'b': 2}) }}", {"a": 1, "b": 2}),
        (
            "{{ {'a': {'x': 1}} | combine({'a': {'y': 2}}, recursive=true) }}",
            {"a": {"x": 1, "y": 2}},
        ),
        ("{{ {'a': 1} | dict2items }}", [{"key": "a", "value": 1}]),
        ("{{ [{'key': 'a', 'value': 1}] | items2dict }}", {"a": 1}),
        ("{{ [[1], [2, [3]]] | flatten }}", [1, 2, 3]),
        ("{{ [1, 2, 3] | difference([2]) }}", [1, 3]),
        ("{{ [1, 2] | intersect([2]) }}", [2]),
        ("{{ [1] | union([1, 2]) }}", [1, 2]),
        ("{{ one | ternary('y', 'n') }}", "y"),
        ("{{ 'a b' | quote }}", "'a b'"),
        ("{{ 'pid 12' | regex_replace('^pid ', '') }}", "12"),
        ("{{ 'x=1 y=2' | regex_findall('\\\\d') }}", ["1", "2"]),
        ("{{ 'x=12' | regex_search('=(\\\\d+)', '\\\\1') }}", ["12"]),
        ("{{ '/a/b.c' | basename }} {{ '/a/b.c' | dirname }}", "b.c /a"),
        ("{{ 'aGk=' | b64decode }} {{ 'hi' | b64encode }}", "hi aGk="),
        ("{{ '{\"a\": 1}' | from_json }}", {"a": 1}),
        ("{{ {'b': 1} | to_json }}", '{"b": 1}'),
        ("{{ words | map('upper') }}", ["B", "A", "B"]),
        ("{{ words | select('eq', 'b') | map('upper') }} of it", "['B', 'B'] of it"),
        ("{{ {'a': 1}.keys() }}", ["a"]),
        ("{{ none }}", None),
        ("x{{ none }}y", "xy"),
        ("{{ [1, none, [2]] | flatten }}", [1, 2]),
        ("{{ 'a' | hash('sha1') }}", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
    ],
)
def test_rendered_values_keep_their_types(templar: Templar, template: str, value: Any) -> None:
    assert templar.render(YamlText.at(template, AT)) == value


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("one == 1 and two == 2", True),
        ("nothing is defined", False),
        ("done is succeeded and done is changed", True),
        ("done is failed or done is skipped", False),
        ("version is version('580', '>=')", True),
        ("version is version('580.100', '<')", True),
        ("'b' in words", True),
        ("words is subset(['a', 'b', 'c'])", True),
        ("version is match('580') and version is search('95')", True),
        (True, True),
        (False, False),
    ],
)
def test_conditions_are_evaluated(templar: Templar, condition: Any, truth: bool) -> None:
    assert templar.condition(condition, AT) is truth


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ wrods }}", "undefined variable 'wrods'; did you mean 'words'?"),
        ("{{ nested.deeep }}", "no attribute 'deeep'"),
        ("{{ one", "template error: unexpected end of template"),
        ("{{ one | frobnicate }}", "No filter named 'frobnicate'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ circle }}", "made from itself: circle -> square -> circle"),
        ("{{ one is failed }}", "needs the registered result of a task"),
    ],
)
def test_errors_have_a_position(templar: Templar, template: str, message: str) -> None:
    with pytest.raises(RenderError) as caught:
        templar.render(YamlText.at(template, AT))
    assert message in caught.value.message
    assert caught.value.position is not None


def test_condition_must_be_true_or_false(templar: Templar) -> None:
    with pytest.raises(RenderError, match="neither true nor false"):
        templar.condition("words", AT)


@pytest.mark.parametrize(
    "template",
    [
        "{{ later }}",
        "{{ later.stdout }}",
        "{{ [later] }}",
        "x{{ later }}",
        "{{ later + 1 }}",
        "{{ later | int }}",
        "{{ later | length > 0 }}",
        "{{ later == 'x' }}",
        "{{ 'x' in later }}",
        "{{ not later }}",
        "{{ 'a' if later else 'b' }}",
        "{% for x in later %}{{ x }}{% endfor %}",
        "{{ later | to_json }}",
        "{{ [later] | to_json }}",
        "{{ later is mapping }}",
        "{{ later | default('x') }}",
        "{{ later | regex_search('a') }}",
        "{{ derived }}",
        "{{ derived.x }}",
        "{{ read.stdout }}",
        "{{ read.stdout is defined }}",
        "{{ read.get('stdout', '') }}",
        "{{ read | to_json }}",
        "{{ read is changed }}",
        "{{ read | length }}",
        "{{ read | dict2items }}",
    ],
)
def test_value_derived_from_an_unknown_value_is_unknown(templar: Templar, template: str) -> None:
    assert isinstance(templar.render(YamlText.at(template, AT)), Unknown)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ later is defined }}", True),
        ("{{ later is undefined }}", False),
        ("{{ one == 1 or later }}", True),
        ("{{ 'a' if one == 1 else later }}", "a"),
        ("{{ read.failed }}", False),
        ("{{ read is failed }}", False),
        ("{{ read is defined }}", True),
    ],
)
def test_value_independent_of_an_unknown_value_is_known(
    templar: Templar, template: str, value: Any
) -> None:
    assert templar.render(YamlText.at(template, AT)) == value


def test_template_file_with_an_unknown_value_is_unknown(templar: Templar) -> None:
    assert isinstance(templar.render_file("a {{ later }} b", "a.j2"), Unknown)
    assert templar.render_file("a {{ one }} b", "a.j2") == "a 1 b"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("{{ a }}", {"a"}),
        ("{{ a.b[c] | default(d) }}", {"a", "c", "d"}),
        ("{% for x in a %}{{ x }}{% endfor %}", {"a"}),
        ("{% set x = a %}{{ x }}", {"a"}),
        ("plain", set()),
        ("{{ broken", set()),
        ("{{ a is defined }}", {"a"}),
    ],
)
def test_names_are_found_without_rendering(value: str, names: set[str]) -> None:
    assert names_in(YamlText.at(value, AT)) == names


def test_template_file_cannot_include_another(templar: Templar) -> None:
    with pytest.raises(RenderError, match="include, import and extends are not supported"):
        templar.render_file("a\n{% include 'b.j2' %}\n", "a.j2")


def test_none_in_a_template_file_is_empty(templar: Templar) -> None:
    assert templar.render_file("x{{ none }}y", "a.j2") == "xy"
