"""While the benchmarks run: hangs, deaths, hardware errors, and interruptions.

Each time nothing is left running on the rig.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from lab.simulate import faults
from tests.lab.operator import finish, reboot, start, switching, wait_until
from tests.lab.validation.conftest import NAME, Proof, Proven

GPU = "0000:08:00.0"
RANKS = "pgrep -f 'agent[.]bench[.]rank' || true"
Process = subprocess.Popen[str]


def list_ranks(proven: Proven) -> list[int]:
    """The processes of the ranks, as the rig numbers them, oldest first."""
    return [int(word) for word in proven.rig.run(RANKS).stdout.split()]


def is_underway(proven: Proven) -> bool:
    """Return whether the ranks are connected: each to the two others."""
    ranks = list_ranks(proven)
    links = proven.rig.run("ss -Htnp state established || true").stdout
    return len(ranks) >= 3 and all(links.count(f"pid={rank},") >= 3 for rank in ranks)


def start_validation(proven: Proven, *words: str) -> tuple[Process, Proof | None]:
    """Start a validation, and wait until its ranks are at work."""
    process = start(proven.inventory, NAME, "validate", "--select", "load or links", *words)
    wait_until(lambda: is_underway(proven) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process, None


def validate_and_act(proven: Proven, act: Callable[[], None], *words: str) -> Proof:
    """Validate, call a function while the ranks work, and return the report."""
    folder = proven.folder / f"load-{len(list(proven.folder.iterdir()))}"
    process, _ = start_validation(proven, "--report", str(folder), *words)
    act()
    return Proof(finish(process, 300), folder / NAME)


@pytest.fixture(autouse=True)
def nothing_is_left(proven: Proven) -> object:
    """Check for remaining processes before and after each test."""
    assert proven.leftovers() == []
    yield
    wait_until(lambda: proven.leftovers() == [])


@pytest.fixture(scope="module")
def hung(proven: Proven) -> tuple[Proof, Proof]:
    """A validation in which a rank is stopped, and a second validation at the same time."""
    second: list[Proof] = []

    def stop() -> None:
        proven.rig.run(f"kill -STOP {list_ranks(proven)[-1]}")
        second.append(proven.validate("--select", "benchmarks"))

    return validate_and_act(proven, stop, "--quick"), second[0]


def test_hung_rank_is_reported_with_the_stacks_of_all_ranks(hung: tuple[Proof, Proof]) -> None:
    proof, _ = hung
    assert proof.result.status == 1
    problems = [entry for entry in proof.report["bench"]["problems"] if entry["kind"] == "hang"]
    assert problems, proof.report["bench"]["problems"]
    problem = problems[0]
    assert len(problem["ranks"]) == 3
    stopped = [rank for rank in problem["ranks"].values() if "stopped" in rank["state"]]
    assert len(stopped) == 1
    others = [rank for rank in problem["ranks"].values() if rank not in stopped]
    assert all("File " in rank["stack"] for rank in others), problem
    assert "hang" in proof.text("load::benchmarks_run")
    assert "File &#34;" in (proof.folder / "report.html").read_text()


def test_second_validation_runs_no_benchmark_beside_the_first(hung: tuple[Proof, Proof]) -> None:
    _, second = hung
    assert "another benchmark runs on this rig" in second.text("load::benchmarks_run")


@pytest.mark.extended
def test_dead_rank_is_named_and_other_parts_still_run(proven: Proven) -> None:
    proof = validate_and_act(proven, lambda: _kill_one(proven), "--quick")
    assert proof.result.status == 1
    (problem,) = proof.report["bench"]["problems"]
    assert problem["kind"] == "died"
    assert "SIGKILL" in problem["message"] or "-9" in problem["message"], problem["message"]
    assert [p for p in proof.report["bench"]["parts"] if p["status"] == "ok"]


def _kill_one(proven: Proven) -> None:
    proven.rig.run(f"kill -KILL {list_ranks(proven)[-1]}")


@pytest.fixture(scope="module")
def troubled(proven: Proven) -> Iterator[Proof]:
    """A validation while the hardware has errors, and while a link has trained too slow.

    The next file's tests may use the same rig, so the agent and the kernel's log begin again.
    """
    with switching(proven.rig) as fault:
        fault("aer", "0 0")  # the kernel counts errors, and has none yet

        def break_it() -> None:
            fault("aer", "1 37")
            fault("aer", "0 2 nonfatal")
            fault("xid", "0 31")
            fault("replays", "2 4711")
            # GPU 0 is at work, and its link has trained at a lower generation.
            fault("load", "0")
            fault("link", "0 1x4")

        proof = validate_and_act(proven, break_it, "--quick")
    yield proof
    reboot(proven.rig)


@pytest.mark.extended
def test_hardware_errors_during_the_run_are_reported(troubled: Proof) -> None:
    """Corrected PCIe errors are a warning, others and Xids are critical."""
    proof = troubled
    assert proof.result.status == 1
    rows = {row["subject"]: row for row in proof.check("links::no_errors_under_load")["rows"]}
    assert rows["0000:08:00.0"]["status"] == "critical"
    assert "2 nonfatal" in rows["0000:08:00.0"]["reading"]
    assert rows["0000:09:00.0"]["status"] == "warning"
    assert "37 correctable" in rows["0000:09:00.0"]["reading"]
    assert "Xid 31" in proof.text("links::no_xid_under_load")
    replays = {r["subject"]: r for r in proof.check("links::no_replays_under_load")["rows"]}
    assert replays["0000:0a:00.0"]["status"] == "warning"
    assert replays["0000:08:00.0"] == replays["0000:08:00.0"] | {"status": "ok", "reading": "0"}


@pytest.mark.extended
def test_a_slow_link_shows_only_under_load(troubled: Proof) -> None:
    check = troubled.check("links::speed_under_load")
    assert check["status"] == "critical", check
    assert "2.5 GT/s" in check["rows"][0]["reading"]


@pytest.mark.extended
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_lost_operator_leaves_no_process_running(proven: Proven, number: int) -> None:
    process, _ = start_validation(proven)
    process.send_signal(number)
    process.communicate(timeout=60)
    wait_until(lambda: proven.leftovers() == [], 30)


@pytest.mark.extended
def test_interrupted_validation_is_not_the_last_validation(proven: Proven) -> None:
    """The agent keeps the last summary; the stored report is marked incomplete."""
    folder = "/var/lib/deeprig/validation"
    before = proven.rig.run(f"echo; cat {folder}/summary.json 2>/dev/null || true").stdout
    process = start(proven.inventory, NAME, "validate", "--quick")
    wait_until(lambda: is_underway(proven) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    wait_until(lambda: proven.leftovers() == [], 30)
    after = proven.rig.run(f"echo; cat {folder}/summary.json 2>/dev/null || true").stdout
    assert after == before
    newest = json.loads(proven.rig.run(f"cat $(ls -1t {folder}/2*.json | head -1)").stdout)
    assert newest["incomplete"].startswith("broken off after ")


@pytest.mark.extended
def test_lost_rig_is_reported_once(proven: Proven) -> None:
    def lose() -> None:
        proven.rig.run("systemctl stop ssh.socket ssh.service; pkill sshd; true")

    try:
        proof = validate_and_act(proven, lose, "--quick")
    finally:
        proven.rig.run("systemctl start ssh.service")
    assert proof.result.status == 4
    proof.result.assert_shows("lost the rig in the middle", "the rig was lost after")
    assert proof.result.text.count("the rig was lost before this check") == 1
    statuses = [check["status"] for check in proof.report["checks"]]
    assert statuses.count("critical") == 0
    assert statuses[-1] == "unknown"


@pytest.mark.extended
def test_timer_run_is_skipped_while_a_job_runs(proven: Proven, fault: Callable[..., None]) -> None:
    """A skipped run is not a failure; the timer runs it later."""
    unit = "deeprig-validation.service"
    show = f"systemctl show -p Result --value {unit}"
    assert (
        proven.rig.run("systemctl is-enabled deeprig-validation.timer").stdout.strip() == "enabled"
    )
    fault("job", "0 4242")
    proven.rig.run(f"systemctl start {unit}")
    assert proven.rig.run(show).stdout.strip() == "exec-condition"
    assert proven.rig.run(f"systemctl is-failed {unit}", check=False).stdout.strip() != "failed"
    faults.switch(proven.rig, "job", on=False, argument="0")
    before = proven.rig.run("ls /var/lib/deeprig/validation | wc -l").stdout
    proven.rig.run(f"systemctl start {unit}")
    assert proven.rig.run(show).stdout.strip() == "success"
    assert proven.rig.run("ls /var/lib/deeprig/validation | wc -l").stdout != before


@pytest.mark.extended
def test_timer_run_stops_when_a_job_starts(proven: Proven, fault: Callable[..., None]) -> None:
    unit = "deeprig-validation.service"
    summary = "cat /var/lib/deeprig/validation/summary.json || true"
    before = proven.rig.run(summary).stdout
    proven.rig.run(f"systemctl start --no-block {unit}")
    wait_until(lambda: is_underway(proven))
    fault("job", "0 4242")
    wait_until(lambda: list_ranks(proven) == [], 30)
    state = f"systemctl show -p ActiveState --value {unit}"
    wait_until(lambda: proven.rig.run(state).stdout.strip() == "inactive")
    newest = proven.rig.run("cat $(ls -1t /var/lib/deeprig/validation/2*.json | head -1)").stdout
    assert "a job uses the GPUs: it goes first" in newest
    assert "gave way to a job" in newest
    assert proven.rig.run(summary).stdout == before


@pytest.mark.extended
def test_assessment_reads_gpus_under_load(proven: Proven, fault: Callable[..., None]) -> None:
    """Matrix products run during the assessment and end with it."""
    process = start(proven.inventory, NAME, "assess", "--load", "--json")
    wait_until(lambda: list_ranks(proven) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    fault("hot", "1")
    result = finish(process, 60)
    assert result.status == 0, result.text
    rows = json.loads(result.stdout)[NAME]["wear"]
    heat = {row["subject"]: row for row in rows if row["check"] == "heat"}
    assert heat["0000:09:00.0"]["status"] == "warning"
    assert "at work" in heat["0000:09:00.0"]["reading"]
    assert heat[GPU]["status"] == "ok"
