"""The rig as a module sees it: run a command, read shared state, change a file.

State that many tasks ask for (dpkg's database, systemd's units) is read once and shared; whoever
changes it calls `invalidate`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import (
    Any,
    Callable,
    Dict,
    Mapping,
    NamedTuple,
    Sequence,
    TypeVar,
)

Result = Dict[str, Any]
#: Where commands are looked up. A mining system's own PATH begins with the current folder.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
#: Variables by which an environment makes interpreters and the loader run other code.
CODE_VARIABLES = ("BASH_ENV", "CDPATH", "ENV", "GCONV_PATH", "IFS", "NODE_OPTIONS", "SHELLOPTS")
CODE_PREFIXES = ("BASH_FUNC_", "LD_", "PERL", "PYTHON", "RUBY")
T = TypeVar("T")


class ModuleFailure(Exception):
    """A task that can't reach its state: `msg` for the operator, `result` for what is known."""

    def __init__(self, msg: str, **result: Any) -> None:
        super().__init__(msg)
        self.msg = msg
        self.result = result


class CommandResult(NamedTuple):
    """A command that ended: its exit status and all it wrote."""

    rc: int
    stdout: str
    stderr: str


class ModuleHost:
    """What one task may use.

    check: report what would change, and change nothing. diff: return `diff` where text changes.
    batch: every unit of work sent along with this one, for reading shared state in one go.
    """

    def __init__(
        self,
        check: bool = False,
        diff: bool = False,
        environment: Mapping[str, str] | None = None,
        batch: Sequence[Mapping[str, Any]] = (),
        state: dict[Any, Any] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.check = check
        self.diff = diff
        self.environment = dict(environment or {})
        self.batch = batch
        self.warnings: list[str] = []
        self._state = {} if state is None else state
        self._on_line = on_line or (lambda line: None)

    def base_environment(self) -> dict[str, str]:
        """Return the environment of commands: the session's, with the system's own PATH.

        Only the task's own `environment` can name another PATH, or code that programs load.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in CODE_VARIABLES and not name.startswith(CODE_PREFIXES)
        }
        kept.update(PATH=SYSTEM_PATH, LC_ALL="C.UTF-8", LANG="C.UTF-8")
        return {**kept, **self.environment}

    def state(self, read: Callable[[ModuleHost], T]) -> T:
        """Return `read(host)`, which is called once until the value is invalidated."""
        if read not in self._state:
            self._state[read] = read(self)
        value: T = self._state[read]
        return value

    def invalidate(self, read: Callable[[ModuleHost], Any]) -> None:
        """Forget what `read` gave: a task changed it."""
        self._state.pop(read, None)

    def show(self, line: str) -> None:
        """Show the operator what a task waits for."""
        self._on_line(line)

    def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        stdin: str | None = None,
        environment: Mapping[str, str] | None = None,
        executable: str | None = None,
        timeout: float | None = None,
    ) -> CommandResult:
        """Run a command to its end; text is run by a shell, a list is not.

        The locale is C.UTF-8 (machines and the operator read the messages), without a
        terminal, the working directory is / unless `cwd` names another, and each line is also
        shown to the operator as progress. Raises ModuleFailure
        when the program does not exist, can't be started, or outlasts `timeout` (seconds).
        """
        env = {**self.base_environment(), **(environment or {})}
        try:
            process = subprocess.Popen(
                command,
                shell=isinstance(command, str),  # as the task asks  # nosec B602
                executable=executable,
                cwd=cwd or "/",
                env=env,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            name = command if isinstance(command, str) else command[0]
            raise ModuleFailure(f"can't run {name}: {error.strerror or error}", rc=2) from None
        return self._collect(process, stdin, timeout)

    def _collect(
        self, process: subprocess.Popen[bytes], stdin: str | None, timeout: float | None
    ) -> CommandResult:
        outputs: dict[str, list[bytes]] = {"stdout": [], "stderr": []}

        def drain(name: str, stream: Any) -> None:
            for line in stream:
                outputs[name].append(line)
                # pip and apt redraw one line with \r: the last part is the news.
                news = line.decode("utf-8", "replace").rstrip().rsplit("\r", 1)[-1]
                if news:
                    self._on_line(news)

        def feed() -> None:
            assert process.stdin is not None
            try:
                process.stdin.write((stdin or "").encode())
                process.stdin.close()
            except BrokenPipeError:
                pass

        threads = [
            threading.Thread(target=drain, args=("stdout", process.stdout), daemon=True),
            threading.Thread(target=drain, args=("stderr", process.stderr), daemon=True),
        ]
        if stdin is not None:
            threads.append(threading.Thread(target=feed, daemon=True))
        for thread in threads:
            thread.start()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise ModuleFailure(
                f"did not end within {timeout:g} s and was killed", rc=124
            ) from None
        for thread in threads:
            # A daemon that the command started may hold its output open for ever.
            thread.join(5)
        text = {
            name: b"".join(chunks).decode("utf-8", "replace") for name, chunks in outputs.items()
        }
        return CommandResult(process.returncode, text["stdout"], text["stderr"])

    def require(self, command: Sequence[str], doing: str, **options: Any) -> CommandResult:
        """Run a command that must succeed; raises ModuleFailure with its whole stderr."""
        done = self.run(command, **options)
        if done.rc != 0:
            detail = (done.stderr.strip() or done.stdout.strip() or "no output").strip()
            raise ModuleFailure(
                f"{doing} failed (exit status {done.rc}): {detail}",
                rc=done.rc,
                stdout=done.stdout,
                stderr=done.stderr,
                cmd=list(command),
            )
        return done
