"""Plays on one host: render, queue, send a batch, and make sense of what comes back.

Tasks are queued until something needs an answer: a template that uses a registered variable or a
fact not known yet, a `failed_when` with a template, a handler, a reboot. Then the queue goes to the
rig as one batch. What follows a failed task was never sent, or is not run by the worker.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from provision import modules
from provision.actions import Context, Control, Remote
from provision.errors import DeeprigError, LostError, RenderError, UnreachableError
from provision.inventory import Host
from provision.options import RunOptions
from provision.outcome import Item, Outcome, Recap, Status, status_of
from provision.playbook import Play, Task
from provision.remote.frames import Frame
from provision.remote.options import OptionError, normalize
from provision.report import Report
from provision.sessions import Sessions
from provision.source import Mapping
from provision.templating import OMIT, NotYetKnown, Pending, Templar, UnknownInCheckMode
from provision.variables import HostVariables, UnknownResult

# Modules whose result holds facts: what reads facts waits for them.
FACT_FINDERS = frozenset(("setup", "package_facts"))
POLL = 1.0  # seconds between two attempts to reach a rig that reboots


class HostEnded(Exception):
    """This host's run is over: a task failed, or `meta: end_host`."""


@dataclass
class Turn:
    """One call of a task's module: a unit for the rig, or a result that is here already."""

    templar: Templar
    label: str = ""
    item: Any = None
    unit: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    elapsed: float = 0.0


@dataclass
class Entry:
    """A task in the queue."""

    play: Play
    task: Task
    turns: list[Turn] = field(default_factory=list)

    @property
    def become_user(self) -> str | None:
        """Whom the task becomes; None is the one who logged in."""
        scope = self.task.scope
        return (scope.become_user or "root") if scope.become else None


class HostRun:
    """The run of some plays on one host."""

    def __init__(
        self,
        host: Host,
        variables: HostVariables,
        sessions: Sessions,
        options: RunOptions,
        report: Report,
    ) -> None:
        self.recap = Recap(host.name)
        self._host = host
        self._variables = variables
        self._sessions = sessions
        self._options = options
        self._report = report
        self._queue: list[Entry] = []
        self._notified: set[str] = set()
        self._has_facts = False
        self._serial = 0
        self._stop = threading.Event()

    def run(self, plays: list[Play]) -> Recap:
        """Play them to the end, or to the first failure."""
        try:
            for play in plays:
                self._play(play)
            self._flush()
        except HostEnded:
            pass
        except (UnreachableError, LostError) as error:
            self.recap.counts[Status.UNREACHABLE] += 1
            self.recap.error = error.message
            self._report.host_error(self._host.name, error)
        finally:
            self.recap.frames = self._sessions.frames
            self._sessions.close()
        return self.recap

    def stop(self) -> None:
        """Ask the run to end (from another thread): the rig ends the task at hand."""
        self._stop.set()
        self._sessions.close()

    # -- plays and tasks

    def _play(self, play: Play) -> None:
        self._report.play(self._host.name, play)
        if play.gather_facts and not self._has_facts:
            self._enqueue_facts(play)
        for task in play.tasks:
            if self._options.selects(task.scope.tags):
                self._task(play, task)
        self._handlers(play)

    def _enqueue_facts(self, play: Play) -> None:
        self._has_facts = True
        task = gathering(play)
        self._variables.facts.pending = True
        args = normalize("setup", modules.options("setup"), {})
        turn = Turn(self._variables.templar(play), unit=self._unit(task, "setup", args, {}, 0))
        self._queue.append(Entry(play, task, [turn]))

    def _handlers(self, play: Play) -> None:
        if any(entry.task.notify for entry in self._queue):
            self._flush()
        for handler in play.handlers:
            if {handler.name, *handler.listen} & self._notified:
                self._task(play, handler)
        self._notified.clear()

    def _task(self, play: Play, task: Task) -> None:
        """Render a task and queue it, waiting for the rig only where it must."""
        if self._stop.is_set():
            raise HostEnded
        while True:
            try:
                entry = self._entry(play, task)
                break
            except NotYetKnown:
                if not self._queue:
                    raise
                self._flush()
            except UnknownInCheckMode as unknown:
                why = f"depends on '{unknown}', which only a real run gives"
                entry = self._settled(play, task, {"changed": False, "unknown": why})
                break
            except (RenderError, OptionError) as error:
                self._flush()  # what comes before the failure is done before it, as in Ansible
                entry = self._settled(play, task, self._render_failure(task, error))
                break
        if isinstance(entry, Control):
            self._control(play, task, entry)
            return
        self._queue.append(entry)
        self._register_early(entry)
        failed_here = any((turn.result or {}).get("failed") for turn in entry.turns)
        if failed_here or (task.failed_when is not None and _constant(task.failed_when) is None):
            self._flush()

    def _entry(self, play: Play, task: Task) -> Entry | Control:
        """A task, rendered. Raises NotYetKnown, UnknownInCheckMode, RenderError, OptionError."""
        entry = Entry(play, task)
        if task.loop is None:
            turn = self._turn(entry, self._variables.templar(play, task), 0)
            if isinstance(turn, Control):
                return turn
            entry.turns.append(turn)
            return entry
        items = self._items(play, task)
        for number, item in enumerate(items):
            templar = self._variables.templar(play, task, **{task.loop_var: item})
            turn = self._turn(entry, templar, number, item)
            if isinstance(turn, Control):
                raise RenderError(f"{task.module} can't be looped over", task.position)
            turn.label = str(templar.render(task.label) if task.label is not None else item)
            entry.turns.append(turn)
        if not items:
            entry.turns = [
                Turn(
                    self._variables.templar(play, task),
                    result={"skipped": True, "changed": False, "skip_reason": "No items"},
                )
            ]
        return entry

    def _items(self, play: Play, task: Task) -> list[Any]:
        templar = self._variables.templar(play, task)
        # A condition that needs no item spares the loop's own expression, which may be undefined.
        try:
            if not self._wanted(task, templar):
                return []
        except RenderError:
            pass
        items = templar.render(task.loop)
        if not isinstance(items, list):
            at = getattr(task.loop, "position", task.position)
            raise RenderError(f"'loop' needs a list, and has {items!r}", at)
        return items

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
            turn.result = {
                "skipped": True,
                "changed": False,
                "skip_reason": "Conditional result was False",
            }
            return turn
        plain = modules.unrendered(task.module)
        args = {
            name: value if name in plain else templar.render(value)
            for name, value in task.args.items()
        }
        args = {name: value for name, value in args.items() if value != OMIT}
        if not modules.takes_anything(task.module):
            args = normalize(task.module, modules.options(task.module), args)
        module = task.module
        action = modules.action(module)
        if action is not None:
            done = action.act(args, Context(task, templar, entry.play.folder))
            if isinstance(done, Control):
                return done
            if not isinstance(done, Remote):
                turn.result = done
                if task.module == "set_fact":
                    self._variables.registered.update(done["ansible_facts"])
                return turn
            module = done.module
            args = normalize(module, modules.remote_options(module), done.args)
        environment: dict[str, Any] = {}
        for layer in task.scope.environment:
            environment.update(templar.render(layer))
        turn.unit = self._unit(task, module, args, environment, number)
        return turn

    def _unit(
        self,
        task: Task,
        module: str,
        args: dict[str, Any],
        environment: dict[str, Any],
        number: int,
    ) -> dict[str, Any]:
        if number == 0:
            self._serial += 1
        scope = task.scope
        failed_when = None if task.failed_when is None else _constant(task.failed_when)
        templated_failure = task.failed_when is not None and failed_when is None
        return {
            "id": [self._serial, number],
            "module": module,
            "args": args,
            "check": self._options.check if scope.check_mode is None else scope.check_mode,
            "diff": self._options.diff if scope.diff is None else scope.diff,
            "environment": {name: str(value) for name, value in environment.items()},
            # With a templated failed_when, whether it failed is decided on this side.
            "ignore_errors": bool(scope.ignore_errors) or templated_failure,
            "failed_when": failed_when,
            "changed_when": None if task.changed_when is None else _constant(task.changed_when),
        }

    def _settled(self, play: Play, task: Task, result: dict[str, Any]) -> Entry:
        """An entry whose outcome is known before anything is sent."""
        return Entry(play, task, [Turn(self._variables.templar(play, task), result=result)])

    def _render_failure(self, task: Task, error: RenderError | OptionError) -> dict[str, Any]:
        if isinstance(error, OptionError):
            error = RenderError(str(error), task.args.at(error.option or ""))
        error.position = error.position or task.position
        return {"failed": True, "changed": False, "msg": error.message, "error": error}

    def _register_early(self, entry: Entry) -> None:
        """What a later template finds under `register` while the task is on its way."""
        task = entry.task
        if task.module in FACT_FINDERS and any(turn.unit for turn in entry.turns):
            self._variables.facts.pending = True
        if not task.register:
            return
        if any(turn.unit for turn in entry.turns):
            self._variables.registered[task.register] = Pending()
        else:
            self._register(entry)

    # -- the rig

    def _flush(self) -> None:
        """Send what is queued and take in what comes back; raises HostEnded after a failure."""
        queue, self._queue = self._queue, []
        for become_user, group in groupby(queue, key=lambda entry: entry.become_user):
            entries = list(group)
            units = [turn.unit for entry in entries for turn in entry.turns if turn.unit]
            turns = {tuple(t.unit["id"]): t for e in entries for t in e.turns if t.unit}
            waiting = iter(entries)
            entry = next(waiting, None)
            session = self._sessions.get(become_user)
            for frame in session.run(units, self._progress(entries)) if units else ():
                for told in frame["results"]:
                    turn = turns[tuple(told["id"])]
                    turn.result, turn.elapsed = told["result"], told["elapsed"]
                while entry is not None and all(turn.result is not None for turn in entry.turns):
                    self._complete(entry)
                    entry = next(waiting, None)
            while entry is not None and all(turn.result is not None for turn in entry.turns):
                self._complete(entry)
                entry = next(waiting, None)

    def _progress(self, entries: list[Entry]) -> Any:
        titles = {turn.unit["id"][0]: e.task for e in entries for turn in e.turns if turn.unit}

        def tell(frame: Frame) -> None:
            current = frame["current"]
            if current:
                task = titles[current["id"][0]]
                line = "" if task.scope.no_log else current["line"]
                self._report.progress(self._host.name, task.title, current["elapsed"], line)

        return tell

    def _complete(self, entry: Entry) -> None:
        """Judge, register, notify, report; raises HostEnded after a failure."""
        task = entry.task
        items = []
        for turn in entry.turns:
            result = self._judged(entry, turn)
            items.append(
                Item(
                    status_of(result, bool(task.scope.ignore_errors)),
                    result,
                    turn.elapsed,
                    turn.label,
                )
            )
            if "ansible_facts" in result and task.module in FACT_FINDERS:
                self._variables.facts.update(result["ansible_facts"])
        self._register(entry)
        outcome = Outcome(self._host.name, entry.play.step, task, tuple(items))
        self.recap.counts[outcome.status] += 1
        self._report.outcome(outcome)
        if outcome.status is Status.CHANGED:
            self._notified.update(task.notify)
        if outcome.status is Status.FAILED:
            raise HostEnded

    def _judged(self, entry: Entry, turn: Turn) -> dict[str, Any]:
        """A turn's result after changed_when and failed_when."""
        task = entry.task
        assert turn.result is not None
        result = turn.result
        if result.get("skipped") or result.get("unknown") or turn.unit is None:
            return result
        if result.get("would_run"):
            return _predicted(task, result)
        own: dict[str, Any] = {task.loop_var: turn.item}
        if task.register:
            own[task.register] = result
        templar = self._variables.templar(entry.play, task, **own)
        for keyword, conditions in (
            ("changed", task.changed_when),
            ("failed", task.failed_when),
        ):
            if conditions is None or _constant(conditions) is not None:
                continue
            try:
                result[keyword] = all(
                    templar.condition(c, getattr(c, "position", task.position)) for c in conditions
                )
            except RenderError as error:
                result.update(self._render_failure(task, error))
        return result

    def _register(self, entry: Entry) -> None:
        name = entry.task.register
        if not name:
            return
        results = [{**(turn.result or {}), entry.task.loop_var: turn.item} for turn in entry.turns]
        if entry.task.loop is None:
            value = dict(entry.turns[0].result or {})
        else:
            value = {
                "results": results,
                "changed": any(result.get("changed") for result in results),
                "failed": any(result.get("failed") for result in results),
                "skipped": all(result.get("skipped") for result in results),
            }
        value.setdefault("failed", False)
        value.setdefault("changed", False)
        hidden = any(
            (turn.result or {}).get("unknown") or (turn.result or {}).get("would_run")
            for turn in entry.turns
        )
        self._variables.registered[name] = UnknownResult(value) if hidden else value

    # -- what is not a module

    def _control(self, play: Play, task: Task, control: Control) -> None:
        if control.name == "flush_handlers":
            self._flush()
            self._handlers(play)
        elif control.name == "end_host":
            self._flush()
            raise HostEnded
        elif control.name == "reboot":
            self._flush()
            began = time.monotonic()
            result = self._reboot(play, task, control.args)
            entry = self._settled(play, task, result)
            entry.turns[0].elapsed = time.monotonic() - began
            self._register_early(entry)
            self._complete(entry)

    def _reboot(self, play: Play, task: Task, args: dict[str, Any]) -> dict[str, Any]:
        if self._options.check:
            return {"changed": True, "msg": "would reboot"}
        session = self._sessions.get("root" if task.scope.become else None)
        unit = self._unit(task, "reboot", {"msg": args["msg"]}, {}, 0)
        result: dict[str, Any] = {}
        for frame in session.run([unit], lambda frame: None):
            result = frame["results"][0]["result"] if frame["results"] else result
        if result.get("failed"):
            return result
        self._sessions.close()
        return self._wait_for_boot(task, result["boot_id"], args)

    def _wait_for_boot(self, task: Task, old: str, args: dict[str, Any]) -> dict[str, Any]:
        """Poll until the kernel's boot_id is another one: a lost connection proves nothing."""
        began = time.monotonic()
        while True:
            elapsed = time.monotonic() - began
            if elapsed > args["reboot_timeout"]:
                raise UnreachableError(
                    f"the rig did not come back from its reboot within {args['reboot_timeout']} s",
                    advice="Look at its screen. If it is up with another address, look for its MAC "
                    "address in the router; then run again, and the play goes on.",
                    task=task.title,
                )
            self._report.progress(self._host.name, task.title, elapsed, "waiting for the rig")
            try:
                new = self._sessions.boot_id(args["connect_timeout"])
            except DeeprigError:
                new = ""
            if new and new != old:
                return {"changed": True, "rebooted": True, "elapsed": int(elapsed)}
            if self._stop.wait(POLL):
                raise HostEnded


def gathering(play: Play) -> Task:
    """The task that a play with `gather_facts` begins with."""
    args = Mapping()
    args.position, args.keys_at = play.position, {}
    return Task("Gathering Facts", "setup", args, play.position, play.scope)


def _predicted(task: Task, result: dict[str, Any]) -> dict[str, Any]:
    """What check mode can say of a command that was not run: changed, unless its output decides."""
    if task.changed_when is not None and _constant(task.changed_when) is None:
        return {**result, "changed": False, "unknown": "only its output says whether it changes"}
    return result


def _constant(conditions: tuple[Any, ...]) -> bool | None:
    """The truth of conditions that are plain booleans; None when one must be rendered."""
    if all(isinstance(condition, bool) for condition in conditions):
        return all(conditions)
    return None
