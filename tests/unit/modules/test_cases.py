"""Every <module>/<case>.yml, played three times: check mode, the run, and the run again.

A case: `args` ({tmp} is its folder), `before` (files), `packages` (dpkg's database), `commands`
(see rig.Script; without it commands really run), `batch`, and `expect`: changed, result, files,
error, commands (patterns, in the order in which they must run), diff; `check` (what differs in
check mode: changed, result, error; false: not played), `again` (true: the second run changes too;
false: not played).
"""

from __future__ import annotations

import fnmatch
import importlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.remote import apt_get, dpkg
from provision.remote.options import normalize
from tests.unit.modules import rig

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*.yml"))


def fill_paths(value: Any, root: Path) -> Any:
    """A case's values with {tmp} put in."""
    if isinstance(value, str):
        return value.replace("{tmp}", str(root))
    if isinstance(value, list):
        return [fill_paths(element, root) for element in value]
    if isinstance(value, dict):
        return {key: fill_paths(element, root) for key, element in value.items()}
    return value


def judge(play: str, expect: dict[str, Any], answer: tuple[dict[str, Any], str | None]) -> None:
    result, error = answer
    wanted = expect.get("error")
    if wanted is None:
        assert error is None, f"{play}: {error}"
        assert result["changed"] == expect["changed"], f"{play}: {result}"
    else:
        assert error is not None, f"{play}: no failure but {result}"
        assert rig.contains(error, f"~{wanted}"), f"{play}: {error}"
    for key, value in expect.get("result", {}).items():
        assert key in result, f"{play}: no {key} in {result}"
        assert rig.contains(result[key], value), f"{play}: {key} is {result[key]!r}"


def judge_files(root: Path, files: dict[str, Any]) -> None:
    for name, value in files.items():
        path = root / name
        if value is None:
            assert not os.path.lexists(path), f"{name} is still there"
        elif name.endswith("/"):
            assert path.is_dir(), f"{name} is not a folder"
            assert "mode" not in value or path.stat().st_mode & 0o7777 == int(value["mode"], 8)
        elif isinstance(value, dict):
            if "link" in value:
                assert str(path.readlink()) == fill_paths(value["link"], root)
            if "content" in value:
                assert path.read_text() == value["content"]
            if "mode" in value:
                assert oct(path.stat().st_mode & 0o7777) == oct(int(value["mode"], 8))
        else:
            assert path.read_text() == fill_paths(value, root), name


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_module_matches_its_case(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = yaml.safe_load(path.read_text())
    expect = fill_paths(case["expect"], tmp_path)
    module = importlib.import_module(f"provision.remote.modules.{path.parent.name}")
    monkeypatch.setattr(dpkg, "ADMIN", str(tmp_path / "var/lib/dpkg"))
    monkeypatch.setattr(apt_get, "ROOT", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.chdir(tmp_path)
    os.umask(0o022)
    rig.create_files(tmp_path, case.get("before") or {})
    if "packages" in case:
        rig.write_packages(tmp_path, case["packages"])
    for name, value in (case.get("module_constants") or {}).items():
        monkeypatch.setattr(module, name, fill_paths(value, tmp_path))
    script = rig.Script(case["commands"], tmp_path) if "commands" in case else None
    state: dict[Any, Any] = {}

    def play(check: bool) -> tuple[dict[str, Any], str | None]:
        args = normalize(path.parent.name, module.OPTIONS, fill_paths(case["args"], tmp_path))
        batch = [{"module": path.parent.name, "args": case["args"]}, *case.get("batch", [])]
        host = rig.ScriptedHost(check=check, diff=True, batch=batch, state={} if check else state)
        host.script = script
        return rig.attempt(module.run, args, host)

    if case.get("check") is not False:
        before = rig.snapshot(tmp_path)
        in_check = {**expect, **fill_paths(case.get("check") or {}, tmp_path)}
        if "check" in case:
            in_check["result"] = (case["check"] or {}).get("result", {})
        if "error" in expect and "changed" in (case.get("check") or {}):
            in_check.pop("error")
        judge("check mode", in_check, play(check=True))
        assert rig.snapshot(tmp_path) == before, "check mode touched something"
    if script:
        script.ran.clear()
    judge("run", expect, play(check=False))
    judge_files(tmp_path, expect.get("files", {}))
    if script and "commands" in expect:
        ran = script.ran
        assert len(ran) == len(expect["commands"]), ran
        for line, pattern in zip(ran, expect["commands"], strict=True):
            assert fnmatch.fnmatchcase(line, pattern), f"{line!r} is not {pattern!r}"
    if "error" not in expect and case.get("again") is not False:
        after = rig.snapshot(tmp_path)
        result, error = play(check=False)
        assert error is None, f"second run: {error}"
        assert result["changed"] is bool(case.get("again")), f"second run: {result}"
        assert case.get("again") or rig.snapshot(tmp_path) == after, "second run touched something"
