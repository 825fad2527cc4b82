"""Attacks by templates: text of a rig in the inventory never runs on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from provision.engine.run_options import RunOptions
from provision.engine.runner import collect_secrets
from provision.errors import Position, RenderError
from provision.inventory import hosts, yaml_source
from provision.inventory.yaml_source import YamlText
from provision.output.redaction import MASK, Redactor, secrets_of
from provision.templating import sandbox
from provision.templating.host_variables import render_variable
from provision.templating.templar import Templar
from tests.unit.local import play

AT = Position("rigs.yml", 1, 1)


def write_command(marker: Path) -> str:
    """Return a template that runs a command in an environment without a sandbox."""
    return f"{{{{cycler.__init__.__globals__.os.system('touch {marker}')}}}}"


@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.system('touch %s') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() | length }}",
        "{{ ''['__class__']['__mro__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ [''] | map(attribute='__class__.__mro__') | list }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ lipsum.__globals__.os.popen('touch %s').read() }}",
        "{{ self.__init__.__globals__ }}",
    ],
)
def test_sandbox_refuses_python_internals(template: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    text = YamlText.at(template.replace("%s", str(marker)), AT)
    with pytest.raises(RenderError):
        Templar([{}]).render(text)
    with pytest.raises(RenderError):
        Templar([{}]).render_file(str(text), "file.j2")
    assert not marker.exists()


@pytest.mark.parametrize("whole_file", [False, True])
def test_template_text_never_becomes_code(whole_file: bool, tmp_path: Path) -> None:
    """Jinja2 writes a template's name into the code of an inline `if` without `else`."""
    marker = tmp_path / "marker"
    code = f"__import__('os').system('touch {marker}')"
    for quote in ('"', "'", '"""', "'''"):
        text = f"a{quote} + str({code}) + {quote}{{{{ 'x' if false }}}}"
        templar = Templar([{}])
        with contextlib.suppress(RenderError):  # the value of an `if` without `else`
            templar.render_file(text, "file.j2") if whole_file else templar.render(
                YamlText.at(text, AT)
            )
        assert not marker.exists()


def test_keys_are_never_templates(tmp_path: Path) -> None:
    variables = yaml_source.parse_yaml(
        'name: x\nouter: {"{{ name }}": {"{{ name }}": "{{ name }}"}}\n', "v"
    )
    assert Templar([variables]).render(variables["outer"]) == {"{{ name }}": {"{{ name }}": "x"}}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('!unsafe "{{ name }}"', "{{ name }}"),
        (
            "!unsafe {a: '{{ name }}', '{{ name }}': ['{{ name }}', 5, true]}",
            {"a": "{{ name }}", "{{ name }}": ["{{ name }}", 5, True]},
        ),
        ("!unsafe ['{{ name }}', *anchored]", ["{{ name }}", "{{ name }}"]),
    ],
)
def test_unsafe_values_are_never_templates(written: str, value: object) -> None:
    content = f"name: x\nanchor: &anchored '{{{{ name }}}}'\nwritten: {written}\n"
    variables = yaml_source.parse_yaml(content, "vars.yml")
    assert Templar([variables]).render(variables["written"]) == value
    assert Templar([variables]).render(YamlText.at("{{ written }}", AT)) == value
    assert Templar([variables]).render(variables["anchor"]) == "x"


def test_unsafe_values_stay_unsafe_after_a_round_trip() -> None:
    content = "a: !unsafe '{{ x }}'\nb: '{{ x }}'\nc: !unsafe [1, '{{ x }}']\n"
    again = yaml_source.parse_yaml(
        yaml_source.dump_yaml(yaml_source.parse_yaml(content, "vars.yml")), "vars.yml"
    )
    rendered = Templar([again, {"x": 1}]).render(again)
    assert rendered == {"a": "{{ x }}", "b": 1, "c": [1, "{{ x }}"]}


def test_collecting_secrets_renders_no_template(tmp_path: Path) -> None:
    """Values with the name of a secret were rendered, even if no task used them."""
    marker = tmp_path / "marker"
    content = f"mac_token: \"{write_command(marker)}\"\napi_key: '{{{{ 1 / 0 }}}}'\n"
    host = hosts.Host("attic", yaml_source.parse_yaml(content, "rigs.yml"), ())
    list(collect_secrets([], [host], RunOptions()))
    assert not marker.exists()


def test_inventory_written_by_a_rig_runs_no_local_code(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = write_command(marker)
    played = play(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug: {msg: done}\n",
        tmp_path,
        variables=yaml_source.parse_yaml(
            f'other_passwords: {{"{evil}": d123}}\nmac_addresses: {{"{evil}": "{evil}"}}\n', "r.yml"
        ),
    )
    assert played.counts["failed"] == 0
    assert not marker.exists()


def test_secrets_referenced_by_templates_are_masked() -> None:
    variables = yaml_source.parse_yaml(
        """
vault: hunter22
nested: {rigs: {attic: {login: hunter33, user: alice}}}
ansible_password: "{{ vault }}"
ansible_become_password: "{{ nested.rigs['attic'].login | trim }}"
third_password: "{{ undefined_name | default('hunter44') }}"
""",
        "vars.yml",
    )
    redactor = Redactor(secrets_of(variables))
    assert redactor.text("hunter22 hunter33 hunter44 alice attic rigs") == (
        f"{MASK} {MASK} {MASK} alice attic rigs"
    )


def test_rendered_secret_templates_are_masked(tmp_path: Path) -> None:
    played = play(
        """
- hosts: all
  gather_facts: false
  vars:
    first: hunt
    rig_password: "{{ first | upper }}{{ first | reverse }}"
  tasks:
    - ansible.builtin.debug: {msg: "it is {{ rig_password }}"}
""",
        tmp_path,
    )
    assert "HUNTtnuh" not in played.text + played.log
    assert f"it is {MASK}" in played.text


@pytest.mark.parametrize(
    "document",
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
            for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "a: &a [*a]\n",
    ],
)
def test_yaml_alias_expansion_is_limited(document: str) -> None:
    with pytest.raises(RenderError, match="its aliases expand to more than"):
        Templar([{"text": document}]).render(YamlText.at("{{ text | from_yaml }}", AT))
    assert Templar([{"text": "a: &a [1]\nb: *a\n"}]).render(
        YamlText.at("{{ text | from_yaml }}", AT)
    ) == {"a": [1], "b": [1]}


def test_template_cache_writable_by_others_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache contains code: a folder that others can write to is not used."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = sandbox._cache_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        sandbox._cache_folder()


def test_unsafe_values_of_the_inventory_are_not_rendered(tmp_path: Path) -> None:
    (tmp_path / "rigs.yml").write_text(
        "rigs:\n  hosts:\n    attic:\n      ansible_host: !unsafe '{{ 7 * 7 }}'\n"
    )
    assert (
        render_variable(hosts.read_inventory(tmp_path).host("attic"), "ansible_host")
        == "{{ 7 * 7 }}"
    )
