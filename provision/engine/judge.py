"""What a result means: changed_when, failed_when, check mode, and what `register` keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from provision.engine.tasks import Task
from provision.engine.variables import UnknownResult
from provision.errors import RenderError
from provision.remote.options import OptionError
from provision.templating.templar import Templar, UnknownInCheckMode

Result = dict[str, Any]


def constant(conditions: tuple[Any, ...] | None) -> bool | None:
    """The truth of conditions that are plain booleans; None when one must be rendered."""
    if conditions is not None and all(isinstance(condition, bool) for condition in conditions):
        return all(conditions)
    return None


def is_templated(conditions: tuple[Any, ...] | None) -> bool:
    """Whether conditions are there, and need an evaluation."""
    return conditions is not None and constant(conditions) is None


def judged(task: Task, result: Result, templar: Templar) -> Result:
    """A result after changed_when and failed_when; `templar` knows the result itself."""
    if result.get("skipped") or result.get("unknown"):
        return result
    if result.get("would_run"):
        return _predicted(task, result)
    for keyword, conditions in (("changed", task.changed_when), ("failed", task.failed_when)):
        if conditions is None:
            continue
        try:
            result[keyword] = all(
                templar.condition(one, getattr(one, "position", task.position))
                for one in conditions
            )
        except RenderError as error:
            result.update(render_failure(task, error))
        except UnknownInCheckMode as unknown:
            return {**result, "changed": False, "failed": False, "unknown": depends_on(unknown)}
    return result


def depends_on(unknown: UnknownInCheckMode) -> str:
    """Why check mode can't tell the outcome of a task."""
    return f"depends on '{unknown}', which only a real run gives"


def _predicted(task: Task, result: Result) -> Result:
    """What check mode can say of a command that was not run: changed, unless its output decides."""
    if is_templated(task.changed_when):
        return {**result, "changed": False, "unknown": "only its output says whether it changes"}
    return result


def render_failure(task: Task, error: RenderError | OptionError) -> Result:
    """The result of a task that could not be rendered."""
    if isinstance(error, OptionError):
        error = RenderError(str(error), task.args.at(error.option or ""))
    error.position = error.position or task.position
    return {"failed": True, "changed": False, "msg": error.message, "error": error}


def registered(
    task: Task, results: Sequence[tuple[Any, Result]], looped: bool, stale: bool = False
) -> Result:
    """What `register` keeps of (item, result) pairs: when `looped`, a list of results.

    `stale`: read in check mode after a change that was only predicted, so its content may be wrong.
    """
    if not looped:
        value = dict(results[0][1])
    else:
        each = [{**result, task.loop_var: item} for item, result in results]
        value = {
            "results": each,
            "changed": any(result.get("changed") for result in each),
            "failed": any(result.get("failed") for result in each),
            "skipped": all(result.get("skipped") for result in each),
        }
    value.setdefault("failed", False)
    value.setdefault("changed", False)
    if stale:
        return UnknownResult(failed=False, skipped=False)
    if any(result.get("unknown") for _, result in results):
        return UnknownResult(failed=False, skipped=False)
    if any(result.get("would_run") for _, result in results):
        return UnknownResult(value)
    return value
