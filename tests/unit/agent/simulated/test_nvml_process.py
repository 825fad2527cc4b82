"""The process that asks NVML, with the lab's NVML: GPUs and drivers that fail and recover."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.nvml.process import NvmlLimits, NvmlPoll, NvmlProcess
from lab.simulate import compile as nvml
from lab.simulate.control import Rows
from lab.simulate.simulated_rig import CUDA, NVRM, VERSION, SimulatedRig
from tests.unit.agent.simulated.conftest import Start
from tests.unit.agent.web.server import PATIENCE_SECONDS, wait_for

FIRST, SECOND, THIRD = GPUS = ("0000:04:00.0", "0000:06:00.0", "0000:08:00.0")
OTHER = "580.105.08"
QUICK = NvmlLimits(retry_seconds=0.05, hung_seconds=0.3, lost_seconds=0.3, start_seconds=0.5)
FRESH = dict.fromkeys(GPUS, "")


def problems(poll: NvmlPoll) -> dict[str, str]:
    return {address: answer.problem for address, answer in poll.gpus.items()}


def poll_first(process: NvmlProcess, module: str = "") -> NvmlPoll:
    """Return the first poll, which includes the start of Python."""
    poll = process.poll(GPUS, PATIENCE_SECONDS)
    assert (poll.driver.state, problems(poll)) == ("ok", FRESH)
    assert not module or poll.driver.module_version == module
    return poll


def until(
    process: NvmlProcess,
    condition: Callable[[NvmlPoll], bool],
    what: str,
    deadline: float = 0.2,
    gpus: Sequence[str] = GPUS,
) -> NvmlPoll:
    """Poll until the condition is met; return the last poll."""

    def poll() -> NvmlPoll | None:
        reply = process.poll(gpus, deadline)
        return reply if condition(reply) else None

    reply: NvmlPoll = wait_for(poll, what)
    return reply


def is_fresh(poll: NvmlPoll) -> bool:
    return poll.driver.state == "ok" and problems(poll) == FRESH


def test_driver_and_every_gpu_are_read(rig: SimulatedRig, start: Start) -> None:
    poll = poll_first(start())
    assert (poll.driver.driver_version, poll.driver.module_version) == (VERSION, VERSION)
    assert (poll.driver.nvml_version, poll.driver.cuda_version) == (f"13.{VERSION}", "13.0")
    readings = [poll.gpus[address].reading for address in GPUS]
    assert [reading and reading.index for reading in readings] == [0, 1, 2]
    assert all(0 < answer.seconds < PATIENCE_SECONDS for answer in poll.gpus.values())


def test_lost_gpu_does_not_affect_others_and_returns(rig: SimulatedRig, start: Start) -> None:
    process = start()
    poll_first(process)
    rig.set(1, lost=1)
    poll = process.poll(GPUS, PATIENCE_SECONDS)
    assert (poll.driver.state, problems(poll)) == ("ok", FRESH | {SECOND: "lost"})
    rig.set()
    assert is_fresh(process.poll(GPUS, PATIENCE_SECONDS))
    assert process.restarts == 0


def test_gpu_unknown_to_nvml_is_absent(rig: SimulatedRig, start: Start) -> None:
    process = start()
    poll = process.poll([*GPUS, "0000:0a:00.0"], PATIENCE_SECONDS)
    assert problems(poll) == FRESH | {"0000:0a:00.0": "absent"}


def test_hung_gpu_does_not_delay_the_others(rig: SimulatedRig, start: Start) -> None:
    """The first poll takes the deadline; later ones do not wait."""
    process = start()
    poll_first(process)
    rig.set(1, hang=1)
    began = time.monotonic()
    poll = process.poll(GPUS, 0.5)
    assert 0.5 <= time.monotonic() - began < 1.5
    assert (poll.driver.state, problems(poll)) == ("ok", FRESH | {SECOND: "hung"})
    for _ in range(3):
        began = time.monotonic()
        poll = process.poll(GPUS, PATIENCE_SECONDS)
        assert problems(poll) == FRESH | {SECOND: "hung"}
        assert time.monotonic() - began < PATIENCE_SECONDS / 2
    assert poll.gpus[SECOND].seconds > 0.5, "for how long it has hung by now"
    rig.set()
    poll = until(process, is_fresh, "the GPU answers again")
    assert process.restarts == 0


def test_process_is_replaced_when_all_gpus_hang(rig: SimulatedRig, start: Start) -> None:
    process = start(limits=QUICK)
    poll_first(process)
    before = process.pid
    rig.set(hang=1)
    poll = until(process, lambda _: process.restarts > 0, "replaced", deadline=0.05)
    assert poll.driver.state == "unresponsive"
    assert process.pid != before
    assert not Path(f"/proc/{before}").exists(), "the old one is gone, and waited for"
    rig.set()
    assert is_fresh(until(process, is_fresh, "all answer"))


def test_interval_between_replacements_grows(rig: SimulatedRig, start: Start) -> None:
    limits = NvmlLimits(hung_seconds=0.05, patience_most=4)
    process = start(limits=limits)
    poll_first(process)
    rig.set(hang=1)
    waits, began = [], time.monotonic()
    for number in range(1, 5):
        while process.restarts < number:
            process.poll(GPUS, 0.01)
        waits.append(time.monotonic() - began)
        began = time.monotonic()
    for wait, times in zip(waits, (1, 2, 4, 4), strict=True):
        assert wait > limits.hung_seconds * times
    assert process._patience == limits.patience_most
    rig.set()
    until(process, is_fresh, "all answer")
    assert process._patience == 1


def test_process_is_replaced_when_all_gpus_are_lost(rig: SimulatedRig, start: Start) -> None:
    process = start(limits=QUICK)
    poll_first(process)
    rig.set(lost=1)
    poll = process.poll(GPUS, PATIENCE_SECONDS)
    assert (poll.driver.state, set(problems(poll).values())) == ("ok", {"lost"})
    until(process, lambda _: process.restarts > 0, "replaced")
    rig.set()
    until(process, is_fresh, "all answer")


def test_killed_process_is_restarted_within_two_polls(rig: SimulatedRig, start: Start) -> None:
    process = start()
    poll_first(process)
    for number in (1, 2):
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        polls = [process.poll(GPUS, PATIENCE_SECONDS) for _ in range(2)]
        assert any(is_fresh(poll) for poll in polls), polls
        assert process.restarts == number


def test_process_runs_only_while_the_module_is_loaded(rig: SimulatedRig, start: Start) -> None:
    """A process that uses the module would prevent its removal."""
    rig.version_file.unlink()
    process = start()
    poll = process.poll(GPUS, 1)
    assert (poll.driver.state, poll.gpus, process.pid) == ("missing", {}, None)
    rig.version_file.write_text(NVRM)
    poll_first(process)
    rig.version_file.unlink()
    poll = process.poll(GPUS, 1)
    assert (poll.driver.state, poll.gpus, process.pid) == ("missing", {}, None)
    rig.version_file.write_text(NVRM)
    poll_first(process)
    assert process.restarts == 0


def test_mismatch_at_the_start_ends_the_process(rig: SimulatedRig, start: Start) -> None:
    rig.version_file.write_text(NVRM.replace(VERSION, OTHER))
    process = start(limits=NvmlLimits(retry_seconds=60))
    poll = process.poll(GPUS, PATIENCE_SECONDS)
    assert (poll.driver.state, poll.gpus) == ("mismatch", {})
    assert poll.driver.module_version == OTHER
    assert process.poll(GPUS, 1).driver.state == "mismatch"
    assert process.pid is None, "not tried again before its time"
    rig.version_file.write_text(NVRM)
    assert is_fresh(process.poll(GPUS, PATIENCE_SECONDS)), "a change is a reason to try at once"


def test_process_is_retried_after_a_mismatch(rig: SimulatedRig, start: Start) -> None:
    rig.set_rig(mismatch=1)
    process = start(limits=QUICK)
    assert process.poll(GPUS, PATIENCE_SECONDS).driver.state == "mismatch"
    rig.set_rig()
    until(process, is_fresh, "tried again")


def install(rig: SimulatedRig, version: str) -> None:
    """Install another version of the library, as a package does."""
    real = rig.library / f"libnvidia-ml.so.{version}"
    if not real.exists():
        nvml.build_library(real, version, CUDA)
    link = rig.library / "libnvidia-ml.so.1"
    link.unlink()
    link.symlink_to(real.name)


def test_upgraded_library_is_a_mismatch_and_readings_continue(
    rig: SimulatedRig, start: Start
) -> None:
    """Readings continue; a verdict warns that new programs fail, until the module is updated."""
    process = start()
    poll_first(process)
    install(rig, OTHER)
    poll = process.poll(GPUS, PATIENCE_SECONDS)
    assert (poll.driver.state, problems(poll)) == ("mismatch", FRESH)
    assert OTHER in poll.driver.detail
    assert VERSION in poll.driver.detail
    rig.version_file.write_text(NVRM.replace(VERSION, OTHER))  # reloaded between two polls
    poll = until(process, is_fresh, "the new library is in use")
    assert (poll.driver.driver_version, poll.driver.module_version) == (OTHER, OTHER)


def test_reverted_upgrade_is_ok_again(rig: SimulatedRig, start: Start) -> None:
    process = start()
    poll_first(process)
    install(rig, OTHER)
    assert process.poll(GPUS, PATIENCE_SECONDS).driver.state == "mismatch"
    install(rig, VERSION)
    poll_first(process)
    assert process.restarts == 0


def test_unknown_module_version_is_not_a_mismatch(rig: SimulatedRig, start: Start) -> None:
    """An unreadable version must not be compared."""
    rig.version_file.write_text(f"{VERSION} is its whole content\n")
    assert poll_first(start(), module="unknown").driver.detail == ""


def test_missing_library_is_reported(rig: SimulatedRig, start: Start) -> None:
    for file in rig.library.glob("libnvidia-ml*"):
        file.unlink()
    process = start(limits=QUICK)
    poll = process.poll(GPUS, PATIENCE_SECONDS)
    if poll.driver.state == "ok":
        pytest.skip("this machine has NVIDIA's own library")
    assert (poll.driver.state, poll.gpus) == ("library", {})
    nvml.build_library(rig.library / f"libnvidia-ml.so.{VERSION}", VERSION, CUDA)
    (rig.library / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{VERSION}")
    until(process, is_fresh, "the library is there")


def test_output_of_a_library_is_not_an_answer(
    rig: SimulatedRig,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The output goes to standard error."""
    (tmp_path / "noise.h").write_text(
        "#include <unistd.h>\n"
        '__attribute__((constructor)) static void noise(void) { if (write(1, "hm\\n", 3)) {} }\n'
    )
    monkeypatch.setattr(nvml, "FLAGS", (*nvml.FLAGS, "-include", str(tmp_path / "noise.h")))
    nvml.build_library(rig.library / f"libnvidia-ml.so.{VERSION}", VERSION, CUDA)
    poll_first(start())
    assert "hm\n" in capfd.readouterr().err
    assert caplog.text == ""


def test_every_xid_is_reported_once(rig: SimulatedRig, start: Start) -> None:
    """This includes Xids of a GPU that has a new handle since."""
    process = start()
    xids: list[tuple[str, int]] = list(poll_first(process).xids)

    def wait_for_count(number: int) -> None:
        def look() -> bool:
            xids.extend(process.poll(GPUS, PATIENCE_SECONDS).xids)
            return len(xids) >= number

        wait_for(look, f"{number} Xids")

    wait_for_count(0)
    rig.set(0, xid=0, xids=1)  # an event without a code, which is not an Xid
    wait_for_count(0)
    rig.set(0, xid=31, xids=2)
    wait_for_count(1)
    rig.set(1, lost=1)
    wait_for_count(1)
    rig.set(1)
    wait_for_count(1)
    rig.set(1, xid=79, xids=1)
    wait_for_count(2)
    for _ in range(5):
        xids.extend(process.poll(GPUS, PATIENCE_SECONDS).xids)
    assert xids == [(FIRST, 31), (SECOND, 79)]


def test_peers_are_read_again_after_a_loss(rig: SimulatedRig, start: Start) -> None:
    process = start()
    poll_first(process)

    def has_peers(number: int) -> Callable[[NvmlPoll], bool]:
        return lambda poll: (
            {
                len(answer.reading.peer_access or ())
                for answer in poll.gpus.values()
                if answer.reading
            }
            == {number}
        )

    until(process, has_peers(2), "all peers", deadline=PATIENCE_SECONDS)
    rig.set(2, lost=1)
    until(process, has_peers(1), "the two that are left", deadline=PATIENCE_SECONDS)
    rig.set(2)
    until(process, has_peers(2), "all peers again", deadline=PATIENCE_SECONDS)


@pytest.mark.parametrize("fault", ["hang", "lost"])
def test_failing_peer_does_not_affect_the_other_gpus(
    fault: str, rig: SimulatedRig, start: Start
) -> None:
    """The peer-to-peer call involves two GPUs."""
    rows: Rows = {fault: 1}
    process = start()
    poll_first(process)  # it is being asked now
    for _ in range(3):
        rig.set(1, load=False, **rows)
        poll = process.poll(GPUS, 0.3)
        assert [poll.gpus[address].problem for address in (FIRST, THIRD)] == ["", ""]
        rig.set()
        until(process, is_fresh, "all answer", deadline=PATIENCE_SECONDS)
