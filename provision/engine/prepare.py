"""Turn a task into what is sent: conditions, loops and templates evaluated, options checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from provision.engine import module_registry
from provision.engine.actions import Context, Control, Remote
from provision.engine.judge import constant, is_templated, judged
from provision.engine.run_options import RunOptions
from provision.engine.tasks import Play, Task
from provision.engine.variables import HostVariables, UnknownResult
from provision.errors import RenderError
from provision.inventory.yaml_source import Mapping, is_template
from provision.remote.options import normalize
from provision.templating.templar import OMIT, NotYetKnown, Pending, Templar, UnknownInCheckMode


@dataclass
class Turn:
    """One call of a task's module: a unit for the rig, or a result that is here already."""

    templar: Templar
    label: str = ""
    item: Any = None
    unit: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    elapsed: float = 0.0
    notify: tuple[str, ...] = ()  # handlers, when the task changed something


@dataclass
class Entry:
    """A task in the queue."""

    play: Play
    task: Task
    turns: list[Turn] = field(default_factory=list)
    become_user: str | None = None  # None is the one who logged in
    looped: bool = False  # the turns are the items of its loop
    registered: dict[str, Any] = field(default_factory=dict)  # as of now, to judge it later


def without_omitted(value: Any) -> Any:
    """A rendered value without what `omit` leaves out, at any depth."""
    if isinstance(value, dict) and type(value) is not UnknownResult:
        return {k: without_omitted(v) for k, v in value.items() if not _is_omit(v)}
    if isinstance(value, list):
        return [without_omitted(item) for item in value if not _is_omit(item)]
    return value


def _is_omit(value: Any) -> bool:
    return isinstance(value, str) and value == OMIT


def skipped() -> dict[str, Any]:
    """The result of a turn whose conditions are false."""
    return {"skipped": True, "changed": False, "skip_reason": "Conditional result was False"}


class Preparer:
    """Prepares the tasks of one host."""

    def __init__(self, variables: HostVariables, options: RunOptions) -> None:
        self._variables = variables
        self._options = options
        self._serial = 0

    def entry(self, play: Play, task: Task) -> Entry | Control:
        """A task, rendered. Raises NotYetKnown, UnknownInCheckMode, RenderError, OptionError."""
        entry = Entry(play, task, become_user=self._become_user(play, task))
        if is_templated(task.changed_when) or is_templated(task.failed_when):
            entry.registered = dict(self._variables.registered)
        if task.loop is None:
            turn = self._turn(entry, self._variables.templar(play, task), 0)
            if isinstance(turn, Control):
                return turn
            entry.turns.append(turn)
            return entry
        items = self._items(play, task)
        for number, item in enumerate(items or ()):
            templar = self._variables.templar(play, task, **{task.loop_var: item})
            turn = self._turn(entry, templar, number, item)
            if isinstance(turn, Control):
                raise RenderError(f"{task.module} can't be looped over", task.position)
            turn.label = str(templar.render(task.label) if task.label is not None else item)
            entry.turns.append(turn)
        entry.looped = bool(items)
        if not items:
            empty = {"results": [], "skip_reason": "No items in the list"}
            result = skipped() if items is None else {**skipped(), **empty}
            entry.turns = [Turn(self._variables.templar(play, task), result=result)]
        return entry

    def _become_user(self, play: Play, task: Task) -> str | None:
        if not task.scope.become:
            return None
        user = task.scope.become_user
        return str(self._variables.templar(play, task).render(user)) if user else "root"

    def title(self, play: Play, task: Task) -> str:
        """What the operator calls a task, rendered; as written where it can't be (yet)."""
        if not is_template(task.title):
            return task.title
        try:
            return str(self._variables.templar(play, task).render(task.title))
        except (RenderError, NotYetKnown, UnknownInCheckMode):
            return task.title

    def _items(self, play: Play, task: Task) -> list[Any] | None:
        """The items of a loop; None when they can't be had, and a condition spares them."""
        try:
            items = self._variables.templar(play, task).render(task.loop)
        except (RenderError, NotYetKnown, UnknownInCheckMode) as error:
            # With `register` the items are worth waiting for: each one's skip is registered.
            waits = isinstance(error, NotYetKnown) and task.register
            if waits or not self._spared(play, task):
                raise
            return None
        if not isinstance(items, list):
            at = getattr(task.loop, "position", task.position)
            raise RenderError(f"'loop' needs a list, and has {items!r}", at)
        return items

    def _spared(self, play: Play, task: Task) -> bool:
        """Whether the conditions are false whatever the item is."""
        item = Pending(RenderError("it depends on the item"))
        try:
            return not self._wanted(
                task, self._variables.templar(play, task, **{task.loop_var: item})
            )
        except (RenderError, NotYetKnown, UnknownInCheckMode):
            return False

    def _wanted(self, task: Task, templar: Templar) -> bool:
        return all(
            templar.condition(condition, getattr(condition, "position", task.position))
            for condition in task.scope.when
        )

    def _turn(
        self, entry: Entry, templar: Templar, number: int, item: Any = None
    ) -> Turn | Control:
        task = entry.task
        turn = Turn(templar, item=item)
        if not self._wanted(task, templar):
            turn.result = skipped()
            return turn
        turn.notify = tuple(str(templar.render(name)) for name in task.notify)
        plain = module_registry.unrendered(task.module)
        args = {
            name: value if name in plain else templar.render(value)
            for name, value in task.args.items()
        }
        args = without_omitted(args)
        if not module_registry.takes_anything(task.module):
            args = normalize(task.module, module_registry.options(task.module), args)
        module = task.module
        action = module_registry.action(module)
        if action is not None:
            done = action.act(args, Context(task, templar, entry.play.folder))
            if isinstance(done, Control):
                return done
            if not isinstance(done, Remote):
                turn.result = self._judged(entry, done, item)
                if task.module == "set_fact" and not turn.result.get("failed"):
                    self._variables.registered.update(done["ansible_facts"])
                return turn
            module = done.module
            args = normalize(module, module_registry.remote_options(module), done.args)
        environment: dict[str, Any] = {}
        for layer in task.scope.environment:
            given = without_omitted(templar.render(layer))
            if not isinstance(given, dict) and not _is_omit(given):
                at = getattr(layer, "position", task.position)
                raise RenderError(f"'environment' needs a mapping, and has {given!r}", at)
            environment.update({} if _is_omit(given) else given)
        turn.unit = self.unit(task, module, args, environment, number)
        return turn

    def _judged(self, entry: Entry, result: dict[str, Any], item: Any) -> dict[str, Any]:
        """An action's result by changed_when and failed_when; the rig's are judged when here."""
        task = entry.task
        own = {task.register: result} if task.register else {}
        looped = {task.loop_var: item} if task.loop is not None else {}
        return judged(task, result, self._variables.templar(entry.play, task, **looped, **own))

    def unit(
        self,
        task: Task,
        module: str,
        args: dict[str, Any],
        environment: dict[str, Any] | None = None,
        number: int = 0,
    ) -> dict[str, Any]:
        """A unit of work for the rig (see provision.remote.frames)."""
        if number == 0:
            self._serial += 1
        scope = task.scope
        failed_when = None if task.failed_when is None else constant(task.failed_when)
        templated_failure = task.failed_when is not None and failed_when is None
        return {
            "id": [self._serial, number],
            "module": module,
            "args": args,
            "check": self._options.check if scope.check_mode is None else scope.check_mode,
            "diff": self._options.diff if scope.diff is None else scope.diff,
            "environment": {name: str(value) for name, value in (environment or {}).items()},
            # With a templated failed_when, whether it failed is decided on this side.
            "ignore_errors": bool(scope.ignore_errors) or templated_failure,
            "failed_when": failed_when,
            "changed_when": None if task.changed_when is None else constant(task.changed_when),
        }

    def facts(self, play: Play) -> Entry:
        """What `gather_facts` asks for at the beginning of a play."""
        args = Mapping()
        args.position, args.keys_at = play.position, {}
        task = Task("Gathering Facts", "setup", args, play.position, play.scope)
        given = normalize("setup", module_registry.options("setup"), {})
        turn = Turn(self._variables.templar(play), unit=self.unit(task, "setup", given))
        return Entry(play, task, [turn], self._become_user(play, task))

    def settled(self, play: Play, task: Task, result: dict[str, Any]) -> Entry:
        """An entry whose outcome is known before anything is sent."""
        return Entry(play, task, [Turn(self._variables.templar(play, task), result=result)])
