"""Variables are rendered once for several tasks, and again when what they are made from changes."""

from __future__ import annotations

from typing import Any

from provision.errors import Position
from provision.inventory.yaml_source import YamlText
from provision.templating.templar import RenderedVariables, Templar

AT = Position("play.yml", 1, 1)


def template(words: str) -> YamlText:
    return YamlText.at(words, AT)


def count_renderings(templar: Templar) -> list[str]:
    """Return the templates that a Templar renders from now on, as they are rendered."""
    rendered: list[str] = []
    render = templar._render_text

    def note(text: YamlText) -> Any:
        rendered.append(str(text))
        return render(text)

    templar._render_text = note  # type: ignore[method-assign]
    return rendered


PLAY: dict[str, Any] = {"first": template("{{ base }}/x"), "second": template("{{ first }}/y")}


def test_second_task_renders_no_variable_again() -> None:
    shared = RenderedVariables()
    layers: list[dict[str, Any]] = [{"base": "/opt"}, PLAY]
    assert Templar(layers, shared=shared).render(template("{{ second }}")) == "/opt/x/y"
    later = Templar(layers, shared=shared)
    rendered = count_renderings(later)
    assert later.render(template("{{ second }}")) == "/opt/x/y"
    assert rendered == ["{{ second }}"]


def test_change_of_a_source_ends_what_was_made_from_it() -> None:
    shared = RenderedVariables()
    registered: dict[str, Any] = {"base": "/opt"}
    assert Templar([PLAY, registered], shared=shared).render(template("{{ second }}")) == "/opt/x/y"
    registered["base"] = "/srv"
    shared.forget(["base"])
    assert Templar([PLAY, registered], shared=shared).render(template("{{ second }}")) == "/srv/x/y"


def test_variable_that_begins_to_exist_counts() -> None:
    shared = RenderedVariables()
    layers: list[dict[str, Any]] = [{"chosen": template("{{ found | default('none') }}")}, {}]
    assert Templar(layers, shared=shared).render(template("{{ chosen }}")) == "none"
    layers[1]["found"] = "here"
    shared.forget(["found"])
    assert Templar(layers, shared=shared).render(template("{{ chosen }}")) == "here"


def test_item_of_a_loop_is_not_shared() -> None:
    shared = RenderedVariables()
    play: dict[str, Any] = {"path": template("/opt/{{ item }}")}
    for item in ("a", "b"):
        templar = Templar([play, {"item": item}], shared=shared, local_names=["item"])
        assert templar.render(template("{{ path }}")) == f"/opt/{item}"


def test_task_with_variables_does_not_get_what_others_rendered() -> None:
    shared = RenderedVariables()
    layers: list[dict[str, Any]] = [{"base": "/opt"}, PLAY]
    assert Templar(layers, shared=shared).render(template("{{ second }}")) == "/opt/x/y"
    task = Templar([*layers, {"base": "/task"}], shared=shared, local_names=["base"])
    assert task.render(template("{{ second }}")) == "/task/x/y"
    assert Templar(layers, shared=shared).render(template("{{ second }}")) == "/opt/x/y"
