"""Plays on one host: queue tasks, send them as a batch, and take in what comes back.

Tasks are queued until something needs an answer: a template that uses a registered variable or a
fact not known yet, a `failed_when` with a template, a handler, a reboot. Then the queue goes to the
rig as one batch. What follows a failed task was never sent, or is not run by the worker.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from typing import Any

from provision.engine.actions import Control
from provision.engine.judge import depends_on, is_templated, judged, registered, render_failure
from provision.engine.outcome import Item, Outcome, Recap, Status, status_of
from provision.engine.prepare import Entry, Preparer, Turn
from provision.engine.report import Report
from provision.engine.run_options import RunOptions
from provision.engine.tasks import Play, Task
from provision.engine.variables import HostVariables
from provision.errors import DeeprigError, LostError, RenderError, UnreachableError
from provision.inventory.hosts import Host
from provision.remote.frames import Frame
from provision.remote.options import OptionError
from provision.ssh.rig_sessions import Sessions
from provision.templating.templar import NotYetKnown, Pending, UnknownInCheckMode

# Modules whose result holds facts: what reads facts waits for them.
FACT_FINDERS = frozenset(("setup", "package_facts"))
# Modules that read in check mode (`check_mode: false`) whatever their author lets them read.
COMMANDS = frozenset(("command", "shell"))
BOOTING = frozenset(("initializing", "starting"))  # what systemd says before it is done
SETTLE = 120.0  # seconds after which a rig that answers is good enough, however long it boots
POLL = 1.0  # seconds between two attempts to reach a rig that reboots


class HostEnded(Exception):
    """This host's run is over: a task failed, or the operator stopped it."""


class PlayEnded(Exception):
    """This play is over on this host: `meta: end_host`."""


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
        self._prepare = Preparer(variables, options)
        self._predicted_change = False  # check mode: the rig is no longer as a run would find it
        self._stop = threading.Event()

    def run(self, plays: list[Play]) -> Recap:
        """Play them to the end, or to the first failure."""
        try:
            for play in plays:
                with contextlib.suppress(PlayEnded):
                    self._play(play)
            self._flush()
        except HostEnded:
            pass
        except Exception as error:  # whatever it is, it ends this host's run and no other's
            if not self._stop.is_set():  # a run that was stopped has lost its rig on purpose
                self._ended_by(error)
        finally:
            self.recap.frames = self._sessions.frames
            self._sessions.close()
        return self.recap

    def stop(self) -> None:
        """Ask the run to end (from another thread): the rig ends the task at hand.

        To be said until it has ended: a connection that is not made yet can't be closed.
        """
        self._stop.set()
        self._sessions.abort()

    def _ended_by(self, error: Exception) -> None:
        known = isinstance(error, DeeprigError)
        lost = isinstance(error, (UnreachableError, LostError))
        told = error if isinstance(error, DeeprigError) else _broken(error)
        status = Status.UNREACHABLE if lost else Status.FAILED
        trace = "" if known else "".join(traceback.format_exception(error))
        self.recap.counts[status] += 1
        self.recap.error = told.message
        self._report.host_error(self._host.name, told, status, trace)

    # -- plays and tasks

    def _play(self, play: Play) -> None:
        if play.gather_facts and not self._has_facts:
            self._has_facts = True
            self._queue.append(self._prepare.facts(play))
            self._variables.facts.pending = True
        for task in play.tasks:
            if self._options.selects(task.scope.tags):
                self._task(play, task)
        self._handlers(play)

    def _handlers(self, play: Play) -> None:
        for handler in play.handlers:
            self._hear()  # a handler that is on its way may notify this one, too
            if {self._prepare.title(play, handler), *handler.listen} & self._notified:
                self._task(play, handler)
        self._hear()
        self._notified.clear()

    def _hear(self) -> None:
        """Wait for what may notify a handler."""
        if any(turn.notify for entry in self._queue for turn in entry.turns):
            self._flush()

    def _task(self, play: Play, task: Task) -> None:
        """Render a task and queue it, waiting for the rig only where it must."""
        if self._stop.is_set():
            raise HostEnded
        while True:
            try:
                entry = self._prepare.entry(play, task)
                break
            except NotYetKnown:
                if not self._queue:
                    raise
                self._flush()
            except UnknownInCheckMode as unknown:
                known = {"changed": False, "unknown": depends_on(unknown)}
                entry = self._prepare.settled(play, task, known)
                break
            except (RenderError, OptionError) as error:
                self._flush()  # what comes before the failure is done before it, as in Ansible
                entry = self._prepare.settled(play, task, render_failure(task, error))
                break
        if isinstance(entry, Control):
            self._control(play, task, entry)
            return
        self._queue.append(entry)
        self._register_early(entry)
        failed_here = any((turn.result or {}).get("failed") for turn in entry.turns)
        if failed_here or is_templated(task.failed_when):
            self._flush()

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
        if self._stop.is_set():
            raise HostEnded
        queue, self._queue = self._queue, []
        for become_user, entries in _batches(queue):
            units = [turn.unit for entry in entries for turn in entry.turns if turn.unit]
            turns = {tuple(t.unit["id"]): t for e in entries for t in e.turns if t.unit}
            tell = self._progress(entries)
            try:
                for frame in self._sessions.get(become_user).run(units, tell) if units else ():
                    for told in frame["results"]:
                        turn = turns[tuple(told["id"])]
                        turn.result, turn.elapsed = told["result"], told["elapsed"]
                    self._complete_those_done(entries)
            except LostError as error:
                _at_hand(error, entries)
                raise
            self._complete_those_done(entries)

    def _complete_those_done(self, entries: list[Entry]) -> None:
        """Complete, in order, the entries that have all their results, and drop them."""
        while entries and all(turn.result is not None for turn in entries[0].turns):
            self._complete(entries.pop(0))

    def _progress(self, entries: list[Entry]) -> Any:
        known = {turn.unit["id"][0]: e for e in entries for turn in e.turns if turn.unit}

        def tell(frame: Frame) -> None:
            current = frame["current"]
            if current:
                entry = known[current["id"][0]]
                line = "" if entry.task.scope.no_log else current["line"]
                title = current.get("title") or self._prepare.title(entry.play, entry.task)
                step = entry.play.step
                self._report.progress(self._host.name, step, title, current["elapsed"], line)

        return tell

    def _tell(self, play: Play, task: Task, elapsed: float, line: str) -> None:
        title = self._prepare.title(play, task)
        self._report.progress(self._host.name, play.step, title, elapsed, line)

    def _complete(self, entry: Entry) -> None:
        """Judge, register, notify, report; raises HostEnded after a failure."""
        task = entry.task
        items = []
        for turn in entry.turns:
            result = turn.result or {}
            if turn.unit is not None:
                turn.result = result = self._judged(entry, turn, result)
            items.append(
                Item(
                    status_of(result, bool(task.scope.ignore_errors)),
                    result,
                    turn.elapsed,
                    turn.label,
                )
            )
            if task.module in FACT_FINDERS:  # found or not, they are no longer on their way
                self._variables.facts.update(result.get("ansible_facts") or {})
        self._register(entry)
        title = self._prepare.title(entry.play, task)
        outcome = Outcome(self._host.name, entry.play.step, title, task, tuple(items))
        self.recap.counts[outcome.status] += 1
        self._report.outcome(outcome)
        if self._options.check and outcome.status in (Status.CHANGED, Status.UNKNOWN):
            self._predicted_change = True
        if outcome.status is Status.CHANGED:
            self._notified.update(name for turn in entry.turns for name in turn.notify)
        if outcome.status is Status.FAILED:
            raise HostEnded

    def _judged(self, entry: Entry, turn: Turn, result: dict[str, Any]) -> dict[str, Any]:
        task = entry.task
        own = {task.register: result} if task.register else {}
        looped = {task.loop_var: turn.item} if entry.looped else {}
        templar = self._variables.templar_as_of(entry.registered, entry.play, task, **looped, **own)
        return judged(task, result, templar)

    def _register(self, entry: Entry) -> None:
        if entry.task.register:
            results = [(turn.item, turn.result or {}) for turn in entry.turns]
            stale = self._predicted_change and entry.task.module in COMMANDS
            value = registered(entry.task, results, entry.looped, stale)
            self._variables.registered[entry.task.register] = value

    # -- what is not a module

    def _control(self, play: Play, task: Task, control: Control) -> None:
        if control.name == "flush_handlers":
            self._flush()
            self._handlers(play)
        elif control.name == "end_host":
            self._flush()
            self._notified.clear()
            raise PlayEnded
        elif control.name == "reboot":
            self._flush()
            began = time.monotonic()
            result = self._reboot(play, task, control.args)
            entry = self._prepare.settled(play, task, result)
            entry.turns[0].elapsed = time.monotonic() - began
            self._register_early(entry)
            self._complete(entry)

    def _reboot(self, play: Play, task: Task, args: dict[str, Any]) -> dict[str, Any]:
        if self._options.check:
            return {"changed": True, "msg": "would reboot"}
        session = self._sessions.get("root" if task.scope.become else None)
        unit = self._prepare.unit(task, "reboot", {"msg": args["msg"]})
        result: dict[str, Any] = {}
        for frame in session.run([unit], lambda frame: None):
            result = frame["results"][0]["result"] if frame["results"] else result
        if result.get("failed"):
            return result
        self._sessions.close()
        if not result.get("boot_id"):  # without it no reboot can be proved
            raise LostError("the rig reports no boot_id before its reboot", position=task.position)
        return self._wait_for_boot(play, task, result["boot_id"], args)

    def _wait_for_boot(
        self, play: Play, task: Task, old: str, args: dict[str, Any]
    ) -> dict[str, Any]:
        """Poll until the kernel's boot_id is another one: a lost connection proves nothing."""
        began = time.monotonic()
        while True:
            elapsed = time.monotonic() - began
            if elapsed > args["reboot_timeout"]:
                raise UnreachableError(
                    f"the rig did not come back from its reboot within {args['reboot_timeout']} s",
                    advice="Look at its screen. If it is up with another address, look for its MAC "
                    "address in the router; then run again, and the play goes on.",
                    position=task.position,
                    task=task.title,
                )
            self._tell(play, task, elapsed, "waiting for the rig")
            try:
                new, state = self._sessions.boot(args["connect_timeout"])
            except DeeprigError:
                new, state = "", ""
            # sshd answers before the last unit is up; a unit that hangs is not waited for.
            settled = state not in BOOTING or elapsed > SETTLE
            if new and new != old and settled:
                return {"changed": True, "rebooted": True, "elapsed": int(elapsed)}
            if self._stop.wait(POLL):
                raise HostEnded


def _batches(queue: list[Entry]) -> list[tuple[str | None, list[Entry]]]:
    """What one user does in a row; what needs no rig goes along with what stands before it."""
    batches: list[tuple[str | None, list[Entry]]] = []
    for entry in queue:
        sends = any(turn.unit for turn in entry.turns)
        if not batches or (sends and batches[-1][0] != entry.become_user):
            batches.append((entry.become_user, []))
        batches[-1][1].append(entry)
    return batches


def _broken(error: Exception) -> DeeprigError:
    """A fault of ours, in the words of an error."""
    return DeeprigError(
        f"deeprig itself broke here: {type(error).__name__}: {error}",
        advice="The log has the trace. The other hosts go on; what is done on this one stays done.",
    )


def _at_hand(error: LostError, entries: list[Entry]) -> None:
    """Name the task that was under way: the first one without all its results."""
    for entry in entries:
        if any(turn.result is None for turn in entry.turns):
            error.task, error.position = entry.task.title, entry.task.position
            return
