"""The dashboards: their queries name existing metrics, and Grafana's types accept them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.names import AGENT, unknown_names
from tests.monitoring.queries import DASHBOARDS, load, raw_queries
from tests.monitoring.tools import skip_or_fail, tool

SCHEMA = Path(__file__).parent / "schema"
COLUMNS = 24  # of Grafana's grid
# Grafana 11.0 wrote 39; a later one takes older ones, and adapts them.
OLDEST_SCHEMA = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

Dashboard = tuple[Path, dict[str, Any]]


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> Dashboard:
    path: Path = request.param
    return path, load(path)


def list_plotted(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def test_dashboards_are_fleet_and_rig() -> None:
    assert {path.stem: load(path)["uid"] for path in DASHBOARDS} == {
        "fleet": "deeprig-fleet",
        "rig": "deeprig-rig",
    }


def test_file_has_the_canonical_json_layout(dashboard: Dashboard) -> None:
    path, document = dashboard
    assert path.read_text() == json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def test_panels_are_numbered_in_order(dashboard: Dashboard) -> None:
    _, document = dashboard
    panels = document["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    titles = [(panel["type"] == "row", panel["title"]) for panel in panels]
    assert all(title for _, title in titles)
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in panels]
    assert places == sorted(places)


def test_panels_do_not_overlap(dashboard: Dashboard) -> None:
    _, document = dashboard
    places = [panel["gridPos"] for panel in document["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS for place in places)
    for first, second in itertools.combinations(places, 2):
        beside = first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
        below = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
        assert beside or below, (first, second)


def test_every_panel_has_a_description_and_a_unit(dashboard: Dashboard) -> None:
    _, document = dashboard
    for panel in list_plotted(document):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_every_query_uses_the_selected_data_source(dashboard: Dashboard) -> None:
    _, document = dashboard
    first, *others = document["templating"]["list"]
    assert (first["name"], first["type"]) == ("datasource", "datasource")
    assert [variable["name"] for variable in others] == ["job", "instance"]
    for asker in [*others, *list_plotted(document)]:
        assert asker["datasource"] == DATASOURCE
    for panel in list_plotted(document):
        assert panel["targets"], panel["title"]
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references))


def test_every_name_in_a_query_exists(dashboard: Dashboard) -> None:
    path, _ = dashboard
    for query in raw_queries(path):
        assert unknown_names(query.expr) == set(), query


def test_every_query_filters_by_the_selected_rigs(dashboard: Dashboard) -> None:
    path, _ = dashboard
    for query in raw_queries(path):
        if not query.panel.startswith("$"):
            assert "$job" in query.expr, query
            assert "$instance" in query.expr, query


def test_table_columns_match_the_queries(dashboard: Dashboard) -> None:
    """`Value #B` belongs to query B; every override refers to an existing column."""
    _, document = dashboard
    for panel in (p for p in list_plotted(document) if p["type"] == "table"):
        steps = {step["id"]: step["options"] for step in panel["transformations"]}
        shown = steps["filterFieldsByName"]["include"]["names"]
        renamed = steps["organize"]["renameByName"]
        assert list(renamed) == shown
        assert [steps["organize"]["indexByName"][name] for name in shown] == list(range(len(shown)))
        references = [target["refId"] for target in panel["targets"]]
        values = {f"Value #{r}" for r in references} if len(references) > 1 else {"Value"}
        assert {name for name in shown if name.startswith("Value")} <= values
        overridden = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]}
        assert overridden <= set(renamed.values())
        sorted_by = {column["displayName"] for column in panel["options"].get("sortBy", [])}
        assert sorted_by <= set(renamed.values())


def test_dashboards_link_to_each_other() -> None:
    uids = {path.stem: load(path)["uid"] for path in DASHBOARDS}
    for path in DASHBOARDS:
        text = path.read_text()
        for other in set(uids) - {path.stem}:
            assert f"/d/{uids[other]}" in text


def test_every_check_has_a_where_to_look_hint() -> None:
    checks = set(yaml.safe_load((AGENT / "tables" / "checks.yml").read_text()))
    document = load(next(path for path in DASHBOARDS if path.stem == "rig"))
    panel = next(panel for panel in list_plotted(document) if panel["title"] == "Verdicts")
    hints = next(
        property_["value"][0]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == "Where to look"
        for property_ in override["properties"]
        if property_["id"] == "mappings"
    )
    assert set(hints) == checks


@pytest.fixture(scope="session")
def grafana_schema() -> Path:
    """A folder with @grafana/schema and TypeScript, kept for the next time."""
    content = b"".join(path.read_bytes() for path in sorted(SCHEMA.iterdir()))
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "deeprig"
    folder = cache / f"grafana-schema-{hashlib.sha256(content).hexdigest()[:12]}"
    if not (folder / "node_modules" / ".bin" / "tsc").exists():
        npm = tool("npm")
        shutil.copytree(SCHEMA, folder, dirs_exist_ok=True)
        install = [
            npm,
            "install",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--ignore-scripts",
        ]
        result = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            shutil.rmtree(folder)
            skip_or_fail("npm can't install @grafana/schema", result.stderr.strip())
    return folder


def compile_with_types(folder: Path, work: Path, document: dict[str, Any]) -> str:
    """Return the errors of the TypeScript compiler for a dashboard; empty without any."""
    for name in ("dashboard.ts", "tsconfig.json"):
        shutil.copy(folder / name, work)
    (work / "node_modules").symlink_to(folder / "node_modules")
    (work / "checked.ts").write_text(
        'import type { RigDashboard } from "./dashboard.js";\n'
        f"export const checked: RigDashboard = {json.dumps(document)};\n"
    )
    compiler = work / "node_modules" / ".bin" / "tsc"
    result = subprocess.run(
        [compiler, "--project", work], cwd=work, capture_output=True, text=True, check=False
    )
    assert (result.returncode == 0) == (result.stdout == ""), result.stderr
    return result.stdout


def test_dashboard_compiles_with_the_types_of_grafana(
    dashboard: Dashboard, grafana_schema: Path, tmp_path: Path
) -> None:
    _, document = dashboard
    assert compile_with_types(grafana_schema, tmp_path, document) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"graphMode": "none"', '"graphMode": "nothing"'),
        ('"showHeader": true', '"showHeading": true'),
        ('"type": "timeseries"', '"type": "graph"'),
        ('"collapsed": false', '"collapsed": 0'),
        ('"format": "table"', '"format": "tabel"'),
    ],
)
def test_types_of_grafana_reject_an_invalid_dashboard(
    grafana_schema: Path, tmp_path: Path, old: str, new: str
) -> None:
    text = json.dumps(load(DASHBOARDS[0]))
    assert old in text
    wrong = json.loads(text.replace(old, new, 1))
    assert "error TS" in compile_with_types(grafana_schema, tmp_path, wrong)


def test_schema_version_is_supported_by_grafana(dashboard: Dashboard, grafana_schema: Path) -> None:
    _, document = dashboard
    script = "console.log(require('@grafana/schema').defaultDashboard.schemaVersion)"
    newest = subprocess.run(
        ["node", "-e", script], cwd=grafana_schema, capture_output=True, text=True, check=True
    )
    assert OLDEST_SCHEMA <= document["schemaVersion"] <= int(newest.stdout)
