"""Turn a task into what is sent: conditions, loops and templates rendered, options checked.

Each template is rendered once. Before it is, the names that it uses are compared with those that
tasks on their way to the rig will set; where they meet, the queue is sent first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from provision.boundary.messages import WorkUnit
from provision.engine import module_registry
from provision.engine.actions import ActionContext, Control, RemoteCall
from provision.engine.judgement import (
    constant_truth,
    evaluate,
    evaluate_in_turn,
    is_templated,
    judge,
)
from provision.engine.results import Result
from provision.engine.run_options import RunOptions
from provision.engine.tasks import Play, Task
from provision.engine.variables import HostVariables
from provision.errors import RenderError
from provision.inventory.yaml_source import YamlMapping, is_template
from provision.remote.options import normalize
from provision.templating.names import names_in, names_in_conditions, names_in_text
from provision.templating.templar import OMIT, Templar
from provision.templating.unknown import PartialResult, Unknown, find_unknown


@dataclass
class ModuleCall:
    """One call of a task's module: a unit for the rig, or a result that is here already.

    notify: the handlers to notify when it changes something. elapsed: seconds.
    """

    label: str = ""
    item: Any = None
    unit: WorkUnit | None = None
    result: Result | None = None
    elapsed: float = 0.0
    notify: tuple[str, ...] = ()


@dataclass
class QueuedTask:
    """A task in the queue. become_user: None is the login user.

    is_looped: the calls are the items of its loop. registered, awaited: the registered variables
    and the names in flight when it was queued; its result is judged with these.
    """

    play: Play
    task: Task
    calls: list[ModuleCall] = field(default_factory=list)
    become_user: str | None = None
    is_looped: bool = False
    registered: dict[str, Any] = field(default_factory=dict)
    awaited: frozenset[str] = frozenset()

    @property
    def is_sent(self) -> bool:
        """Whether a part of it is work for the rig."""
        return any(call.unit is not None for call in self.calls)


def without_omitted(value: Any) -> Any:
    """Return a rendered value without what `omit` leaves out, at any depth."""
    if isinstance(value, PartialResult):
        return value
    if isinstance(value, dict):
        return {key: without_omitted(item) for key, item in value.items() if not _is_omit(item)}
    if isinstance(value, list):
        return [without_omitted(item) for item in value if not _is_omit(item)]
    return value


def _is_omit(value: Any) -> bool:
    return isinstance(value, str) and value == OMIT


class TaskPreparer:
    """Prepares the tasks of one host. `send_queue` sends what is queued and waits for it."""

    def __init__(
        self, variables: HostVariables, options: RunOptions, send_queue: Callable[[], None]
    ) -> None:
        self._variables = variables
        self._options = options
        self._send_queue = send_queue
        self._serial = 0

    def prepare(self, play: Play, task: Task) -> QueuedTask | Control:
        """Return a task, rendered. Raises RenderError, OptionError."""
        user = self._become_user(play, task)
        if isinstance(user, Unknown):
            return self.settle(play, task, Result(unknown=user.reason))
        queued = QueuedTask(play, task, become_user=user)
        if task.loop is None:
            call = self._call(queued, 0)
            if isinstance(call, Control):
                return call
            queued.calls.append(call)
        elif (result := self._add_items(queued)) is not None:
            queued.calls = [ModuleCall(result=result)]
        if is_templated(task.changed_when) or is_templated(task.failed_when):
            queued.registered = dict(self._variables.registered)
            queued.awaited = frozenset(self._variables.in_flight)
        return queued

    def title(self, play: Play, task: Task) -> str:
        """Return the task's name, rendered; as written where it can't be (yet)."""
        if not is_template(task.title):
            return task.title
        if self._variables.is_in_flight(names_in(task.title), play, task):
            return task.title
        try:
            title = self._variables.templar(play, task).render(task.title)
        except RenderError:
            return task.title
        return task.title if isinstance(title, Unknown) else str(title)

    def settle(self, play: Play, task: Task, result: Result) -> QueuedTask:
        """Return a task whose outcome is known before anything is sent."""
        return QueuedTask(play, task, [ModuleCall(result=result)])

    def gather_facts(self, play: Play) -> QueuedTask:
        """Return what `gather_facts` asks for at the beginning of a play."""
        args = YamlMapping()
        args.position, args.keys_at = play.position, {}
        task = Task("Gathering Facts", "setup", args, play.position, play.scope)
        options = normalize("setup", module_registry.options("setup"), {})
        call = ModuleCall(unit=self.unit(task, "setup", options))
        user = self._become_user(play, task)  # nothing of this play is unknown yet
        return QueuedTask(play, task, [call], None if isinstance(user, Unknown) else user)

    def unit(
        self,
        task: Task,
        module: str,
        args: dict[str, Any],
        environment: dict[str, Any] | None = None,
        number: int = 0,
    ) -> WorkUnit:
        """Return a unit of work for the rig. number: of the loop's item."""
        if number == 0:
            self._serial += 1
        scope = task.scope
        failed_when = constant_truth(task.failed_when)
        return {
            "id": [self._serial, number],
            "module": module,
            "args": args,
            "check": self._options.check if scope.check_mode is None else scope.check_mode,
            "diff": self._options.diff if scope.diff is None else scope.diff,
            "environment": {name: str(value) for name, value in (environment or {}).items()},
            # A templated failed_when is evaluated on this side, after the result.
            "ignore_errors": bool(scope.ignore_errors) or is_templated(task.failed_when),
            "failed_when": failed_when,
            "changed_when": constant_truth(task.changed_when),
        }

    # -- waiting

    def _wait_for(
        self, queued: QueuedTask, names: Iterable[str], local: Collection[str] = ()
    ) -> bool:
        """Send the queue where it holds what one of these names needs; return whether it did."""
        if not self._variables.is_in_flight(names, queued.play, queued.task, local):
            return False
        self._send_queue()
        return True

    def _become_user(self, play: Play, task: Task) -> str | Unknown | None:
        if not task.scope.become:
            return None
        user = task.scope.become_user
        if not user:
            return "root"
        self._wait_for(QueuedTask(play, task), names_in(user))
        rendered = self._variables.templar(play, task).render(user)
        return rendered if isinstance(rendered, Unknown) else str(rendered)

    # -- loops

    def _add_items(self, queued: QueuedTask) -> Result | None:
        """Add the calls of a loop's items; return the result of a loop without calls, or None."""
        task = queued.task
        names = names_in(task.loop)
        if self._variables.is_in_flight(names, queued.play, task):
            # With `register` the items are worth waiting for: each one's skip is registered.
            if not task.register and self._is_spared(queued):
                return Result.of_skip()
            self._send_queue()
        try:
            items = self._variables.templar(queued.play, task).render(task.loop)
        except RenderError:
            if self._is_spared(queued):
                return Result.of_skip()
            raise
        unknown = items if isinstance(items, Unknown) else None
        if unknown is not None:
            spared = self._is_spared(queued)
            return Result.of_skip() if spared else Result(unknown=unknown.reason)
        if not isinstance(items, list):
            at = getattr(task.loop, "position", task.position)
            raise RenderError(f"'loop' needs a list, and has {items!r}", at)
        if not items:
            return Result.of_skip(results=[], skip_reason="No items in the list")
        self._wait_for(queued, names_in(task.label), (task.loop_var,))
        queued.is_looped = True
        for number, item in enumerate(items):
            call = self._call(queued, number, item)
            if isinstance(call, Control):
                raise RenderError(f"{task.module} can't be looped over", task.position)
            queued.calls.append(call)
        return None

    def _is_spared(self, queued: QueuedTask) -> bool:
        """Return whether a condition is false whatever the item is."""
        task = queued.task
        templar = self._variables.templar(queued.play, task)
        for condition in task.scope.when:
            names = names_in_conditions((condition,))
            if task.loop_var in names or self._variables.is_in_flight(names, queued.play, task):
                continue
            try:
                if evaluate((condition,), task, templar) is False:
                    return True
            except RenderError:  # it may be made from the item
                continue
        return False

    # -- one call

    def _call(self, queued: QueuedTask, number: int, item: Any = None) -> ModuleCall | Control:
        """Return one call of the task's module. number, item: of its loop."""
        task = queued.task
        variables = {task.loop_var: item} if task.loop is not None else {}
        templar = self._variables.templar(queued.play, task, **variables)
        call = ModuleCall(item=item)
        wanted, templar = self._evaluate_conditions(queued, templar, variables)
        if wanted is False:
            call.result = Result.of_skip()
            return self._label(call, task, templar)
        if isinstance(wanted, Unknown):
            call.result = Result(unknown=wanted.reason)
            return self._label(call, task, templar)
        is_free = module_registry.takes_any_option(task.module)
        is_overtaken = is_free and bool(task.args.keys() & self._variables.in_flight)
        if is_overtaken:
            self._send_queue()  # a result on its way would overwrite what set_fact sets
        if self._wait_for(queued, self._names_of_call(task), variables) or is_overtaken:
            templar = self._variables.templar(queued.play, task, **variables)
        self._label(call, task, templar)
        rendered = self._render(task, templar)
        if isinstance(rendered, Unknown):
            call.result = Result(unknown=rendered.reason)
            return call
        args, environment, call.notify = rendered
        done = self._act(queued, args, templar, variables)
        if isinstance(done, Control):
            return done
        if isinstance(done, Result):
            call.result = self._judge_here(queued, done, variables)
            if not call.result.failed and task.module == "set_fact":
                self._variables.register(call.result.facts)
        else:
            call.unit = self.unit(task, done.module, done.args, environment, number)
        return call

    def _evaluate_conditions(
        self, queued: QueuedTask, templar: Templar, variables: dict[str, Any]
    ) -> tuple[bool | Unknown, Templar]:
        """Return whether the task runs, and a Templar that is up to date.

        The queue is sent for a condition only when no earlier one is false.
        """
        task = queued.task

        def templar_for(condition: Any) -> Templar:
            nonlocal templar
            if self._wait_for(queued, names_in_conditions((condition,)), variables):
                templar = self._variables.templar(queued.play, task, **variables)
            return templar

        return evaluate_in_turn(task.scope.when, task, templar_for), templar

    def _names_of_call(self, task: Task) -> frozenset[str]:
        """Return the names that rendering a call uses, its conditions apart."""
        names = names_in((task.args, task.notify, task.scope.environment, task.label))
        for option in module_registry.unrendered_options(task.module):
            if option in task.args:
                value = task.args[option]
                names |= names_in_conditions(value if isinstance(value, list) else (value,))
        if module_registry.action(task.module) is not None:  # may be judged at once
            judged = names_in_conditions((*(task.changed_when or ()), *(task.failed_when or ())))
            names |= judged - {task.register}  # there it is the task's own result
        return names

    def _label(self, call: ModuleCall, task: Task, templar: Templar) -> ModuleCall:
        """Set what the report calls an item."""
        if task.loop is None:
            return call
        label = call.item if task.label is None else templar.render(task.label)
        call.label = "(unknown)" if find_unknown(label) is not None else str(label)
        return call

    def _render(
        self, task: Task, templar: Templar
    ) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]] | Unknown:
        """Return a call's arguments, environment and handlers, rendered and checked."""
        raw = module_registry.unrendered_options(task.module)
        args: dict[str, Any] = {
            name: value if name in raw else templar.render(value)
            for name, value in task.args.items()
        }
        environment: dict[str, Any] = {}
        for layer in task.scope.environment:
            part = templar.render(layer)
            if isinstance(part, Unknown):
                return part
            part = without_omitted(part)
            if not isinstance(part, dict) and not _is_omit(part):
                at = getattr(layer, "position", task.position)
                raise RenderError(f"'environment' needs a mapping, and has {part!r}", at)
            environment.update({} if _is_omit(part) else part)
        notify = [templar.render(name) for name in task.notify]
        is_free = module_registry.takes_any_option(task.module)  # set_fact sets unknown values, too
        unknown = find_unknown([environment, notify] if is_free else [args, environment, notify])
        if unknown is not None:
            return unknown
        args = without_omitted(args)
        if not is_free:
            args = normalize(task.module, module_registry.options(task.module), args)
        return args, environment, tuple(map(str, notify))

    def _act(
        self, queued: QueuedTask, args: dict[str, Any], templar: Templar, variables: dict[str, Any]
    ) -> Result | Control | RemoteCall:
        """Do the operator's side of a module; return its result, or the call of the rig's side."""
        task = queued.task
        action = module_registry.action(task.module)
        if action is None:
            return RemoteCall(task.module, args)
        context = ActionContext(task, templar, queued.play.folder)
        read_templates = getattr(action, "read_templates", None)
        if read_templates is not None:
            names = names_in_text(read_templates(args, context), whole_file=True)
            if self._wait_for(queued, names, variables):
                templar = self._variables.templar(queued.play, task, **variables)
                context = replace(context, templar=templar)
        done: Result | Control | RemoteCall = action.act(args, context)
        if isinstance(done, RemoteCall):
            options = module_registry.remote_options(done.module)
            return RemoteCall(done.module, normalize(done.module, options, done.args))
        return done

    def _judge_here(self, queued: QueuedTask, result: Result, variables: dict[str, Any]) -> Result:
        """Judge an action's result; those of the rig are judged when they are here."""
        task = queued.task

        def templar_for(judged: Result) -> Templar:
            registered = {task.register: judged.as_registered()} if task.register else {}
            return self._variables.templar(queued.play, task, **variables, **registered)

        return judge(task, result, templar_for)
