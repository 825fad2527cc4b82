"""The checklist for this board and these cards."""

from __future__ import annotations

import html
import re
import time
from pathlib import Path

import pytest

from provision.checklist import answer_file, checklist, command, items, page
from provision.checklist.checklist import Checklist, Entry, LastLook
from provision.checklist.command import ChecklistOptions
from provision.cli.flags import Flags
from provision.errors import DeeprigError, SourceError
from provision.inventory import yaml_source
from provision.inventory.hosts import Inventory
from provision.output import files
from tests.unit.checklist.cases import case, describe_case, facts, gpu


def entries(made: Checklist) -> dict[str, Entry]:
    return {entry.id: entry for entry in made.entries}


def test_every_item_applies_to_some_rig_and_renders() -> None:
    """Its template uses only variables that exist."""
    rigs = [
        case(),
        case(psus=(1600.0,)),
        case(board={"name": "TUF GAMING B550M-PLUS (WI-FI)"}),
        describe_case("ROMED8-2T", "EPYC 7302", "4x RTX 3090"),
        describe_case("H110 Pro BTC+", "", "6x GTX 1060 6GB"),
        describe_case("", "", ""),
    ]
    every_item = items.load()
    seen = {
        item.id
        for rig in rigs
        for item in items.applicable_items(rig, every_item)
        if item.describe(rig)
    }
    assert seen == {item.id for item in every_item}


@pytest.mark.parametrize(
    ("board", "cpu", "wanted"),
    [
        ("B450 Steel Legend", "Ryzen 5 1600", 0),  # a claim against a rule
        ("TUF GAMING B550M-PLUS (WI-FI)", "Ryzen 5 3600", 4),
        ("ROMED8-2T", "EPYC 7302", 16),
        ("ASUS X99-E WS", "Xeon E5-2680 v4", 8),  # not listed; the processor's lanes
        ("Some B450 board", "Ryzen 5 3600", 0),  # its chipset's rule: no splitting
        ("", "", 0),
    ],
)
def test_wanted_lanes_follow_board_and_processor(board: str, cpu: str, wanted: int) -> None:
    assert describe_case(board, cpu).wanted == wanted


def test_bios_menu_is_named_only_if_the_table_has_it() -> None:
    in_table = entries(checklist.make_checklist(describe_case("ROMED8-2T", "EPYC 7302"), {}))[
        "split"
    ]
    assert in_table.how.startswith("Advanced > Chipset Config > AMD PCIe Link Width.")
    assert in_table.words == ()
    not_in_table = entries(checklist.make_checklist(describe_case("B450 Steel Legend"), {}))[
        "split"
    ]
    assert "The menu is not known for this board." in not_in_table.how
    assert "Bifurcation" in not_in_table.words


def test_unknown_board_uses_the_rule_of_its_chipset() -> None:
    (first, *_) = checklist.describe_board(describe_case("Gigabyte B450 AORUS M", "Ryzen 5 1600"))
    assert first.startswith("The board is not in the table; the rule of its chipset (B350, B450)")
    (nothing,) = checklist.describe_board(describe_case("Unheard of"))
    assert "nothing is known of it" in nothing


@pytest.mark.parametrize("board", ["X399 AORUS PRO", "B450M Steel Legend", "H110 Pro BTC+"])
def test_chipset_rule_is_used_if_the_row_of_the_board_has_none(board: str) -> None:
    case = describe_case(board)
    assert case.chipset is not None
    assert case.chipset.rule in "\n".join(checklist.describe_board(case))
    with_row = describe_case("TUF GAMING B550M-PLUS (WI-FI)")
    assert "chipset" not in "\n".join(checklist.describe_board(with_row))


@pytest.mark.parametrize("psus", ["-5", "0", "750,0", "nan", "inf", "750 W", "1e9"])
def test_invalid_psus_are_refused(psus: str) -> None:
    with pytest.raises(DeeprigError, match="not a list of watts") as caught:
        describe_case("ROMED8-2T", psus=psus)
    assert caught.value.advice
    assert describe_case("ROMED8-2T", psus="750,850.5").psus == (750, 850.5)


class Context:
    """A command line without hosts; asking for the fleet fails the test."""

    patterns = ()


@pytest.mark.parametrize(
    ("host", "wish", "words"),
    [
        (
            "rig",
            ChecklistOptions(board="X399 AORUS PRO", psus="750"),
            "--board, --psus: -H names a rig",
        ),
        (
            "rig",
            ChecklistOptions(html="/nonexistent/x.html"),
            "the folder /nonexistent does not exist",
        ),
        (
            "rig",
            ChecklistOptions(markdown="/tmp"),
            "--markdown /tmp can't be written: it is a folder",
        ),
        ("", ChecklistOptions(board="ROMED8-2T", html="/tmp"), "--html /tmp can't be written"),
    ],
)
def test_invalid_request_is_refused_before_connecting(
    host: str, wish: ChecklistOptions, words: str
) -> None:
    with pytest.raises(DeeprigError, match=words) as caught:
        command.show_checklists(Context(), Flags(H=host), wish)  # type: ignore[arg-type]
    assert caught.value.advice


def test_page_that_becomes_unwritable_is_an_error(tmp_path: Path) -> None:
    files.check_named("--html", str(tmp_path / "x.html"))
    with pytest.raises(DeeprigError, match=r"--html .* can't be written: No such file"):
        files.write_named("--html", str(tmp_path / "gone" / "x.html"), "")


def test_chipset_comes_from_the_row_of_the_board() -> None:
    zenith = describe_case("ROG ZENITH EXTREME").chipset
    assert zenith is not None
    assert zenith.name == "X399"


def test_only_items_that_apply_are_listed() -> None:
    one_supply = entries(checklist.make_checklist(case(psus=(1600.0,)), {}))
    assert not {"one-supply", "supplies-together"} & set(one_supply)
    small = entries(
        checklist.make_checklist(describe_case("H110 Pro BTC+", "", "6x GTX 1060 6GB"), {})
    )
    assert not {"own-cables", "pads", "rebar", "split", "risers"} & set(small)
    assert "pads" in entries(checklist.make_checklist(describe_case("ROMED8-2T"), {}))
    assert "lanes-stolen" in entries(checklist.make_checklist(describe_case("ROMED8-2T"), {}))


@pytest.mark.parametrize(
    ("board", "gpus", "asked"),
    [
        ("PRIME B250M-A", "2x RTX 3090", False),  # "The processor's 16 lanes go to one slot."
        ("MEG Z390 GODLIKE", "4x RTX 3090", False),  # "Never x4x4x4x4."
        ("MEG Z390 GODLIKE", "3x RTX 3090", True),
        ("B450 TOMAHAWK", "3x RTX 3090", True),  # denied by one, claimed by others
        ("a board of no name", "3x RTX 3090", True),
    ],
)
def test_split_item_depends_on_the_chipset(board: str, gpus: str, asked: bool) -> None:
    assert (
        "split" in entries(checklist.make_checklist(describe_case(board, "", gpus), {}))
    ) == asked


def test_iommu_item_names_only_the_iommu_setting() -> None:
    words = entries(checklist.make_checklist(case(board={"iommus": ["ivhd0"]}), {}))["iommu"].words
    assert "IOMMU" in words
    assert "SVM" not in words  # the processor's virtualization, which translates no GPU's addresses


def test_answers_count_only_if_nothing_is_observed() -> None:
    made = entries(
        checklist.make_checklist(case(), {"riser-power": True, "fans": False, "csm": False})
    )
    assert (made["riser-power"].status, made["riser-power"].by) == ("ok", "answered")
    assert made["fans"].status == "to do"
    assert (made["csm"].status, made["csm"].by) == ("ok", "seen")  # what is seen is not argued with


def test_changes_after_a_reboot_are_marked(tmp_path: Path) -> None:
    before = checklist.make_checklist(case(gpus=[gpu(1, start=0xC0000000)]), {})
    path = answer_file.file_of(Inventory(tmp_path), "rig")
    answer_file.save(path, "rig", {"fans": True}, answer_file.merge_observations(before, {}))
    answers, seen = answer_file.load(path)
    assert answers == {"fans": True}
    same = checklist.make_checklist(case(gpus=[gpu(1)]), answers, seen)
    assert same.rebooted is False
    after = checklist.make_checklist(case(gpus=[gpu(1)], boot_id="b00t-2"), answers, seen)
    assert after.rebooted is True
    assert [entry.id for entry in after.entries if entry.moved] == ["above-4g"]


def test_saving_answers_keeps_the_rest_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "checklist.yml"
    text = """\
# The rig in the attic.
psus: [750, 750]
motd: "{{ inventory_hostname }}: hot"
checklist:
  bought: 2021-05-01
  answers: {fans: true}  # all new
  seen: {boot_id: b00t-1, items: {csm: ok}}
"""
    path.write_text(text)
    answers, seen = answer_file.load(path)
    answer_file.save(path, "rig", answers, seen)
    assert path.read_text() == text  # nothing changed
    answer_file.save(path, "rig", {**answers, "pads": False}, seen)
    content = yaml_source.load_yaml(path)
    assert content["checklist"]["answers"] == {"fans": True, "pads": False}
    assert content["checklist"]["seen"] == seen
    assert content["checklist"]["bought"] == "2021-05-01"
    assert content["psus"] == [750, 750]
    assert content["motd"] == "{{ inventory_hostname }}: hot"


def test_answers_before_an_interrupt_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = iter(["y", "n"])

    def put(question: str) -> str:
        try:
            return next(message)
        except StopIteration:
            raise KeyboardInterrupt from None

    for stream in (command.sys.stdin, command.sys.stdout):  # type: ignore[attr-defined]
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", put)
    inventory = Inventory(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        command._make_remembered(case(), inventory, "rig", {"pads": True}, False)
    answers, seen = answer_file.load(answer_file.file_of(inventory, "rig"))
    assert len(answers) == 3
    assert answers["pads"] is True
    assert seen == {}  # its list was not shown


@pytest.mark.parametrize(
    ("text", "words", "at"),
    [
        ("checklist:\n  answers:\n    fans: maybe\n", "true or false", "3:5"),
        ("checklist:\n  answers: [fans]\n", "should be a mapping", "2:3"),
        ("checklist: fans\n", "should be a mapping", "1:1"),
        ("- fans\n", "should have variables", "1:1"),
    ],
)
def test_invalid_answer_file_is_an_error_with_its_line(
    text: str, words: str, at: str, tmp_path: Path
) -> None:
    path = tmp_path / "checklist.yml"
    path.write_text(text)
    with pytest.raises(SourceError, match=words) as caught:
        answer_file.load(path)
    assert str(caught.value.position).endswith(f"checklist.yml:{at}")


def test_only_unanswered_items_are_prompted() -> None:
    made = checklist.make_checklist(case(), {"fans": True})
    put: list[str] = []

    def message(question: str) -> str:
        put.append(question)
        replies = {"riser powered": "y", "pads": "n"}
        return next((answer for words, answer in replies.items() if words in question), "")

    answers = dict(command.ask(made, {"fans": True}, False, message))
    assert answers == {"riser-power": True, "pads": False}
    assert not any("fans" in question for question in put)
    put.clear()
    list(command.ask(made, {"fans": True}, True, message))
    assert any("fans" in question for question in put)

    def ended(question: str) -> str:
        raise EOFError

    assert list(command.ask(made, {}, True, ended)) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [("fan=yes", "no item 'fan'"), ("fans", "is not an answer"), ("fans=ja", "is not an answer")],
)
def test_invalid_answers_are_refused(given: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        command.answers_of([given])
    assert command.answers_of(["fans=yes", "pads=No"]) == {"fans": True, "pads": False}


@pytest.mark.parametrize("kind", page.TEMPLATES)
def test_pages_contain_every_item(kind: str) -> None:
    made = checklist.make_checklist(case(board={"name": "<script>"}), {"fans": True})
    text = page.render(made, kind)
    for entry in made.entries:
        assert entry.title.replace("'", "&#39;" if kind == ".html" else "'") in text
    assert "<script>" not in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize("kind", page.TEMPLATES)
def test_pages_give_instructions_only_for_open_items(kind: str) -> None:
    """Three states, three boxes; the date and the reboot are at the top."""
    seen: LastLook = {"boot_id": "b00t-0", "items": {"csm": "to do"}}
    made = checklist.make_checklist(case(kernel={"command_line": ["pci=noaer"]}), {}, seen)
    assert set(made.counts.values()).isdisjoint({0})
    text = html.unescape(page.render(made, kind))
    head, *parts = re.split(r"\n<div class=\"item|\n- (?=\[)", text)
    assert time.strftime("%Y-%m-%d") in head
    assert "Rebooted since the last look. CSM (legacy boot) off: to do -> ok." in head
    boxes = {"ok": ("[x]", ">✓<"), "to do": ("[ ]", '"box"><'), "open": ("[?]", ">?<")}
    for entry, part in zip(made.entries, parts, strict=True):
        assert entry.title in part
        assert any(box in part for box in boxes[entry.status]), part
        assert (entry.how in part) == (entry.status != "ok")
        assert ("In the BIOS look for: " in part) == bool(entry.words and entry.status != "ok")
        assert f"Why: {entry.why}" in part


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("observe: risers", "observe: riser"), "unknown observation 'riser'"),
        (("when: [several-psus]", "when: [many-psus]"), "unknown condition 'many-psus'"),
        (("    observe: risers\n", ""), "one of the two"),
        (("id: riser-power", "id: risers"), "is there already"),
        (("confidence: B", "confidence: D"), "confidence"),
        (("    why: fire\n", ""), "'why' is missing"),
    ],
)
def test_invalid_row_is_an_error_with_its_position(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    path = tmp_path / "items.yml"
    path.write_text(items.TABLE.read_text().replace(*change, 1))
    with pytest.raises(SourceError, match=words) as caught:
        items.load(path)
    assert str(path) in str(caught.value.position) or "items.yml:" in str(caught.value.position)


def test_paths_are_read_from_the_document_of_the_agent() -> None:
    assert command.agent_paths('{"pcie": {"paths": [{"address": "a"}]}}') == [{"address": "a"}]
    assert command.agent_paths("connection refused") is None
    assert command.agent_paths("[]") is None
    assert facts()["boot_id"] == "b00t-1"
