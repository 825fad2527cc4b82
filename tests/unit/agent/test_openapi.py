"""The API's description is valid OpenAPI, complete, and matches the example documents."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

ROOT = Path(__file__).parents[3]
DESCRIPTION: dict[str, Any] = yaml.safe_load((ROOT / "agent/web/page/openapi.yaml").read_text())
SCHEMAS: dict[str, Any] = DESCRIPTION["components"]["schemas"]
EXAMPLES = Path(__file__).parent / "documents"
PATHS = {"/metrics", "/api/v1/rig", "/api/v1/history", "/-/healthy", "/-/ready", "/"}


def validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**DESCRIPTION, "$ref": f"#/components/schemas/{schema}"})


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text())
    return document


def objects(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object below a place."""
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield place, schema
        for key, value in schema.items():
            yield from objects(value, f"{place}/{key}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from objects(value, f"{place}/{number}")


def test_description_is_valid_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DESCRIPTION).iter_errors()] == []
    assert set(DESCRIPTION["paths"]) == PATHS


@pytest.mark.parametrize("path", sorted(PATHS))
def test_every_path_describes_refusals(path: str) -> None:
    assert set(DESCRIPTION["paths"][path]["get"]["responses"]) >= {
        "200",
        "400",
        "401",
        "421",
        "429",
    }


@pytest.mark.parametrize("name", ["rig", "history"])
def test_example_matches_the_schema(name: str) -> None:
    errors = validator(name.capitalize()).iter_errors(example(name))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_every_field_is_described_and_no_other_allowed() -> None:
    for place, schema in objects(SCHEMAS, ""):
        assert schema["additionalProperties"] is False, place
        assert set(schema.get("required", [])) <= set(schema["properties"]), place
        for name, field in schema["properties"].items():
            target = field.get("$ref", "").rpartition("/")[2]
            described = field.get("description") or SCHEMAS.get(target, {}).get("description")
            # The name of a reference to a described object is description enough.
            assert described or "properties" in SCHEMAS.get(target, {}) or name == "series", (
                f"{place}: {name} has no description"
            )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["status"], "fine"),
        (["unexpected"], 1),
        (["gpus", 0, "reading", "temperature_celsius"], "34"),
        (["gpus", 0, "reading", "utilization_ratio"], 1.5),
        (["gpus", 0, "reading", "unexpected"], None),
        (["gpus", 0, "address"], "8:0.0"),
        (["pcie", "devices", 0, "kind"], "slot"),
        (["pcie", "devices", 0, "aer", "unexpected"], 1),
        (["pcie", "paths", 0, "width"], 0),
        (["verdicts", 0, "status"], "fatal"),
        (["driver", "state"], "strange"),
    ],
)
def test_invalid_document_does_not_match_the_schema(path: list[str | int], value: Any) -> None:
    document: Any = copy.deepcopy(example("rig"))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert list(validator("Rig").iter_errors(document))


@pytest.mark.parametrize("field", ["uuid", "index", "reading", "read_at", "read_duration_seconds"])
def test_gpu_without_a_reading_matches_the_schema(field: str) -> None:
    document = example("rig")
    document["gpus"][0].update({field: None, "up": False, "problem": "GPU is lost"})
    assert list(validator("Rig").iter_errors(document)) == []
