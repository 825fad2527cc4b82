"""Plays on one host: queue tasks, send them as a batch, and take in the results.

Tasks are queued until something needs an answer: a template with a variable that a queued task
sets, a templated `failed_when`, a handler, a reboot. Then the queue goes to the rig as one batch.
What follows a failed task is not sent, or the worker does not run it.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from provision.boundary.messages import BatchNews, Progress, WorkUnit
from provision.engine.actions import Control
from provision.engine.judgement import is_templated, judge, registered_value, render_failure
from provision.engine.preparation import ModuleCall, QueuedTask, TaskPreparer
from provision.engine.reports.run_report import RunReport
from provision.engine.results import ItemOutcome, Recap, Result, Status, TaskOutcome
from provision.engine.run_options import RunOptions
from provision.engine.tasks import Play, Task
from provision.engine.variables import FACTS, HostVariables
from provision.errors import DeeprigError, InternalError, LostError, RenderError, UnreachableError
from provision.inventory.hosts import Host
from provision.remote.options import OptionError
from provision.ssh.rig_sessions import Sessions
from provision.templating.templar import Templar

# Modules whose result holds facts: what reads facts waits for them.
FACT_FINDERS = frozenset(("setup", "package_facts"))
# Modules that read in check mode (`check_mode: false`) whatever their author lets them read.
COMMANDS = frozenset(("command", "shell"))
# Actions that change nothing on the rig, whatever their outcome.
LOCAL_ACTIONS = frozenset(("assert", "debug", "fail", "set_fact"))
BOOTING = frozenset(("initializing", "starting"))  # states of systemd before the boot is done
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
        report: RunReport,
    ) -> None:
        self.recap = Recap(host.name)
        self._host = host
        self._variables = variables
        self._sessions = sessions
        self._options = options
        self._report = report
        self._queue: list[QueuedTask] = []
        self._notified: set[str] = set()
        self._has_facts = False
        self._preparer = TaskPreparer(variables, options, self._flush)
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
                self._end_by(error)
        finally:
            self.recap.frames = self._sessions.frames
            self._sessions.close()
        return self.recap

    def stop(self) -> None:
        """Ask the run to end (from another thread): the rig ends the task at hand.

        Call it until the run has ended: a connection that is not made yet can't be closed.
        """
        self._stop.set()
        self._sessions.abort()

    def _end_by(self, error: Exception) -> None:
        is_ours = isinstance(error, DeeprigError)
        is_lost = isinstance(error, (UnreachableError, LostError))
        reported = error if isinstance(error, DeeprigError) else InternalError(error)
        status = Status.UNREACHABLE if is_lost else Status.FAILED
        trace = "" if is_ours else "".join(traceback.format_exception(error))
        self.recap.counts[status] += 1
        self.recap.error = reported.message
        self.recap.status = reported.status
        self._report.host_error(self._host.name, reported, status, trace)

    # -- plays and tasks

    def _play(self, play: Play) -> None:
        if play.gather_facts and not self._has_facts:
            self._has_facts = True
            self._enqueue(self._preparer.gather_facts(play))
        for task in play.tasks:
            if self._options.selects(task.scope.tags):
                self._task(play, task)
        self._run_handlers(play)

    def _run_handlers(self, play: Play) -> None:
        for handler in play.handlers:
            self._wait_for_notifiers()  # a handler on its way may notify this one, too
            if {self._preparer.title(play, handler), *handler.listen} & self._notified:
                self._task(play, handler)
        self._wait_for_notifiers()
        self._notified.clear()

    def _wait_for_notifiers(self) -> None:
        if any(call.notify for queued in self._queue for call in queued.calls):
            self._flush()

    def _task(self, play: Play, task: Task) -> None:
        """Render a task and queue it, waiting for the rig only where it must."""
        if self._stop.is_set():
            raise HostEnded
        try:
            queued = self._preparer.prepare(play, task)
        except (RenderError, OptionError) as error:
            self._flush()  # as in Ansible, what comes before the failure is done before it
            queued = self._preparer.settle(play, task, render_failure(task, error))
        if isinstance(queued, Control):
            self._control(play, task, queued)
            return
        self._enqueue(queued)
        has_failed = any(call.result and call.result.failed for call in queued.calls)
        if has_failed or is_templated(task.failed_when):
            self._flush()

    def _enqueue(self, queued: QueuedTask) -> None:
        """Queue a task; its variables are in flight, or known where no rig is needed."""
        self._queue.append(queued)
        task = queued.task
        if queued.is_sent:
            for name in _names_set_by(task):
                self._variables.launch(name)
        elif task.register and task.register not in self._variables.in_flight:
            self._register(queued)

    # -- the rig

    def _flush(self) -> None:
        """Send the queue and take in the results. Raises HostEnded after a failure."""
        if self._stop.is_set():
            raise HostEnded
        queue, self._queue = self._queue, []
        for become_user, batch in _batches(queue):
            units = [call.unit for queued in batch for call in queued.calls if call.unit]
            calls = {
                tuple(call.unit["id"]): call
                for queued in batch
                for call in queued.calls
                if call.unit
            }
            on_progress = self._progress_of(batch)
            try:
                for news in self._run_units(become_user, units, on_progress):
                    for result in news.results:
                        call = calls[result.id]
                        call.result, call.elapsed = Result.of_module(result.values), result.elapsed
                    self._complete_finished(batch)
            except LostError as error:
                _name_task(error, batch)
                raise
            self._complete_finished(batch)

    def _run_units(
        self,
        become_user: str | None,
        units: list[WorkUnit],
        on_progress: Callable[[Progress], None],
    ) -> Iterable[BatchNews]:
        """Send a batch, if it has work for the rig."""
        return self._sessions.get(become_user).run(units, on_progress) if units else ()

    def _complete_finished(self, batch: list[QueuedTask]) -> None:
        """Complete, in order, the tasks that have all their results, and drop them."""
        while batch and all(call.result is not None for call in batch[0].calls):
            self._complete(batch.pop(0))

    def _progress_of(self, batch: list[QueuedTask]) -> Callable[[Progress], None]:
        tasks = {
            call.unit["id"][0]: queued for queued in batch for call in queued.calls if call.unit
        }

        def show(progress: Progress) -> None:
            queued = tasks[progress.id[0]]
            line = "" if queued.task.scope.no_log else progress.line
            title = progress.title or self._preparer.title(queued.play, queued.task)
            self._report.progress(self._host.name, queued.play.step, title, progress.elapsed, line)

        return show

    def _complete(self, queued: QueuedTask) -> None:
        """Judge, register, notify, report. Raises HostEnded after a failure."""
        task = queued.task
        items = []
        for call in queued.calls:
            result = call.result or Result()
            if call.unit is not None:
                call.result = result = self._judge(queued, call, result)
            status = result.status(bool(task.scope.ignore_errors))
            items.append(ItemOutcome(status, result, call.elapsed, call.label))
            if task.module in FACT_FINDERS:
                self._variables.add_facts(result.facts)
        if task.register:
            self._register(queued)
        if queued.is_sent:
            for name in _names_set_by(task):
                self._variables.land(name)
        title = self._preparer.title(queued.play, task)
        outcome = TaskOutcome(self._host.name, queued.play.step, title, task, tuple(items))
        self.recap.counts[outcome.status] += 1
        self._report.outcome(outcome)
        is_change = outcome.status in (Status.CHANGED, Status.UNKNOWN)
        if self._options.check and is_change and task.module not in LOCAL_ACTIONS:
            self._predicted_change = True
        if outcome.status is Status.CHANGED:
            self._notified.update(name for call in queued.calls for name in call.notify)
        if outcome.status is Status.FAILED:
            self.recap.error = outcome.describe_failure()
            raise HostEnded

    def _judge(self, queued: QueuedTask, call: ModuleCall, result: Result) -> Result:
        """Judge a result of the rig with the variables as they were when its task was queued."""
        task = queued.task
        now = self._variables.registered
        arrived = {name: now[name] for name in queued.awaited if name in now}
        item = {task.loop_var: call.item} if queued.is_looped else {}

        def templar_for(judged: Result) -> Templar:
            own_result = {task.register: judged.as_registered()} if task.register else {}
            registered = {**queued.registered, **arrived}
            return self._variables.templar(queued.play, task, registered, **item, **own_result)

        return judge(task, result, templar_for)

    def _register(self, queued: QueuedTask) -> None:
        task = queued.task
        assert task.register
        results = [(call.item, call.result or Result()) for call in queued.calls]
        has_run = not all(result.skipped for _, result in results)
        is_stale = self._predicted_change and task.module in COMMANDS and has_run
        value = registered_value(task, results, queued.is_looped, is_stale)
        self._variables.register({task.register: value})

    # -- what is not a module

    def _control(self, play: Play, task: Task, control: Control) -> None:
        if control.name == "flush_handlers":
            self._flush()
            self._run_handlers(play)
        elif control.name == "end_host":
            self._flush()
            self._notified.clear()
            raise PlayEnded
        elif control.name == "reboot":
            self._flush()
            began = time.monotonic()
            queued = self._preparer.settle(play, task, self._reboot(play, task, control.args))
            queued.calls[0].elapsed = time.monotonic() - began
            self._complete(queued)

    def _reboot(self, play: Play, task: Task, args: dict[str, Any]) -> Result:
        if self._options.check:
            return Result({"msg": "would reboot"}, changed=True)
        session = self._sessions.get("root" if task.scope.become else None)
        unit = self._preparer.unit(task, "reboot", {"msg": args["msg"]})
        result = Result()
        for news in session.run([unit], lambda progress: None):
            if news.results:
                result = Result.of_module(news.results[0].values)
        if result.failed:
            return result
        self._sessions.close()
        boot_id = result.text("boot_id")
        if not boot_id:  # without it no reboot can be proved
            raise LostError("the rig reports no boot_id before its reboot", position=task.position)
        return self._wait_for_boot(play, task, boot_id, args)

    def _wait_for_boot(self, play: Play, task: Task, old: str, args: dict[str, Any]) -> Result:
        """Poll until the kernel's boot_id is another one: a lost connection proves nothing."""
        began = time.monotonic()
        title = self._preparer.title(play, task)
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
            self._report.progress(self._host.name, play.step, title, elapsed, "waiting for the rig")
            try:
                new, state = self._sessions.boot(args["connect_timeout"])
            except DeeprigError:
                new, state = "", ""
            # sshd answers before the last unit is up; a unit that hangs is not waited for.
            has_settled = state not in BOOTING or elapsed > SETTLE
            if new and new != old and has_settled:
                return Result({"rebooted": True, "elapsed": int(elapsed)}, changed=True)
            if self._stop.wait(POLL):
                raise HostEnded


def _names_set_by(task: Task) -> list[str]:
    """Return the variables that a task of the rig gives a value."""
    names = [task.register] if task.register else []
    return [*names, FACTS] if task.module in FACT_FINDERS else names


def _batches(queue: list[QueuedTask]) -> list[tuple[str | None, list[QueuedTask]]]:
    """Return what one user does in a row; a task that needs no rig joins the batch before it."""
    batches: list[tuple[str | None, list[QueuedTask]]] = []
    for queued in queue:
        if not batches or (queued.is_sent and batches[-1][0] != queued.become_user):
            batches.append((queued.become_user, []))
        batches[-1][1].append(queued)
    return batches


def _name_task(error: LostError, batch: list[QueuedTask]) -> None:
    """Name the task that was under way: the first one without all its results."""
    for queued in batch:
        if any(call.result is None for call in queued.calls):
            error.task, error.position = queued.task.title, queued.task.position
            return
