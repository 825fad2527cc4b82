"""What a result means: `changed_when`, `failed_when`, check mode, and what `register` keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from provision.engine.results import Result
from provision.engine.tasks import Task
from provision.errors import RenderError
from provision.remote.options import OptionError
from provision.templating.templar import Templar
from provision.templating.unknown import PartialResult, Unknown

Conditions = tuple[Any, ...]


def constant_truth(conditions: Conditions | None) -> bool | None:
    """Return the truth of conditions that are booleans; None where one must be rendered."""
    if conditions is not None and all(isinstance(condition, bool) for condition in conditions):
        return all(conditions)
    return None


def is_templated(conditions: Conditions | None) -> bool:
    """Return whether conditions exist and must be rendered."""
    return conditions is not None and constant_truth(conditions) is None


def evaluate(conditions: Conditions, task: Task, templar: Templar) -> bool | Unknown:
    """Return whether all conditions are true. Raises RenderError."""
    return evaluate_in_turn(conditions, task, lambda _condition: templar)


def evaluate_in_turn(
    conditions: Conditions, task: Task, templar_for: Callable[[Any], Templar]
) -> bool | Unknown:
    """Return whether all conditions are true. Raises RenderError.

    A false one decides, also where check mode cannot predict an earlier one. templar_for: called
    with each condition, unless an earlier one is false.
    """
    unknown: Unknown | None = None
    for condition in conditions:
        templar = templar_for(condition)
        try:
            truth = templar.condition(condition, getattr(condition, "position", task.position))
        except RenderError:
            if unknown is None:  # a real run may not evaluate what follows an unknown condition
                raise
            continue
        if truth is False:
            return False
        if isinstance(truth, Unknown) and unknown is None:
            unknown = truth
    return True if unknown is None else unknown


def judge(task: Task, result: Result, templar_for: Callable[[Result], Templar]) -> Result:
    """Return a result after changed_when and failed_when.

    templar_for: returns a Templar that knows a result under the name that `register` gives it.
    """
    if result.skipped or result.unknown:
        return result
    if result.would_run:
        if is_templated(task.changed_when):
            return result.make_unknown("cannot be predicted: only its output decides")
        return result
    try:
        if task.changed_when is not None:
            truth = evaluate(task.changed_when, task, templar_for(result))
            if isinstance(truth, Unknown):
                return result.make_unknown(truth.reason)
            result = replace(result, changed=truth)
        if task.failed_when is not None:
            truth = evaluate(task.failed_when, task, templar_for(result))
            if isinstance(truth, Unknown):
                return result.make_unknown(truth.reason)
            result = replace(result, failed=truth)
    except RenderError as error:
        failure = render_failure(task, error)
        return replace(failure, values={**result.values, **failure.values})
    return result


def render_failure(task: Task, error: RenderError | OptionError) -> Result:
    """Return the result of a task that could not be rendered."""
    if isinstance(error, OptionError):
        error = RenderError(str(error), task.args.at(error.option or ""))
    error.position = error.position or task.position
    return Result.of_failure(error)


def registered_value(
    task: Task, results: Sequence[tuple[Any, Result]], is_looped: bool, is_stale: bool = False
) -> dict[str, Any]:
    """Return what `register` keeps of (item, result) pairs: of a loop, a list of results.

    is_stale: read in check mode after a change that was only predicted, so its content may be
    wrong.
    """
    source = f"the result of '{task.title}'"
    if is_stale or any(result.unknown for _, result in results):
        return PartialResult({"failed": False, "skipped": False}, source)
    if not is_looped:
        value = results[0][1].as_registered()
    else:
        items = [{**result.as_registered(), task.loop_var: item} for item, result in results]
        value = {
            "results": items,
            "changed": any(result.changed for _, result in results),
            "failed": any(result.failed for _, result in results),
            "skipped": all(result.skipped for _, result in results),
        }
    if any(result.would_run for _, result in results):
        return PartialResult(value, source)
    return value
