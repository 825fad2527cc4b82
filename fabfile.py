"""The commands: one short task each; what they do is in provision/ and lab/."""

from __future__ import annotations

from invoke.collection import Collection

import lab.tasks
from provision.cli.flags import OF_PLAYS, Flags
from provision.cli.fleet import FleetContext, fleet_task


@fleet_task(
    accept_workstation="convert it although it looks like a personal computer",
    stop="what may be a miner and is one: its name, or several with commas, or all",
    keep="what may be a miner and is yours: its name, or several with commas, or all",
    accept_taken_over="convert it although another person had root access to it",
    cache="fetch packages and wheels once, and hand them to the rigs over SSH",
)
def provision(
    context: FleetContext,
    flags: Flags,
    accept_workstation: bool = False,
    stop: str = "",
    keep: str = "",
    accept_taken_over: bool = False,
    cache: bool = False,
) -> None:
    """Turn a mining rig into a deep learning host (plays playbooks/provision.yml)."""
    from provision.play import command

    command.provision(
        context,
        flags,
        command.Acceptance(accept_workstation, accept_taken_over, stop, keep),
        cache,
    )


@fleet_task(
    without=OF_PLAYS[1:],
    user="who logs in, as the mining system has it",
    name="what the rig is to be called, instead of its host name",
    keep_passwords="change no password, and leave logins by password open",
    accept_workstation="convert it although it looks like a personal computer",
)
def adopt(
    context: FleetContext,
    flags: Flags,
    user: str = "",
    name: str = "",
    keep_passwords: bool = False,
    accept_workstation: bool = False,
) -> None:
    """From an address and a password to a managed rig: key, passwords, inventory entry."""
    from provision.adopt import command
    from provision.adopt.adoption import AdoptOptions

    wish = AdoptOptions(
        name,
        flags.i,
        flags.inventory,
        flags.accept_new,
        keep_passwords,
        accept_workstation,
        flags.check,
    )
    command.adopt(context, flags, user, wish)


@fleet_task(
    without=OF_PLAYS,
    html="write it to this file, to keep",
    load="put the GPUs of a provisioned rig to work for some seconds: how hot do they get?",
)
def assess(context: FleetContext, flags: Flags, html: str = "", load: bool = False) -> None:
    """Report what a rig is, how it was used, which users can log in, and what to do. Read-only."""
    from provision.assess import command

    command.assess(context, flags, html, load)


@fleet_task(
    without=OF_PLAYS,
    board="the board, instead of a rig's",
    cpu="the processor",
    gpus='the GPUs: "3x RTX 3090"',
    psus="the power supplies, in watts: 750,750",
    ask="ask again what was answered",
    answer="an answer: ITEM=yes or ITEM=no (repeatable)",
    html="write it to this file, to print",
    markdown="write it to this file as Markdown",
)
def checklist(
    context: FleetContext,
    flags: Flags,
    board: str = "",
    cpu: str = "",
    gpus: str = "",
    psus: str = "",
    ask: bool = False,
    answer: tuple[str, ...] = (),
    html: str = "",
    markdown: str = "",
) -> None:
    """List what to set in this board's BIOS and do to this rig; tick what is detected."""
    from provision.checklist import command

    wish = command.ChecklistOptions(board, cpu, gpus, psus, ask, answer, html, markdown)
    command.show_checklists(context, flags, wish)


@fleet_task()
def backup(context: FleetContext, flags: Flags) -> None:
    """Keep what a rig is now, on the rig and here, for fab restore."""
    from provision.backup import command

    command.backup(context, flags)


@fleet_task(source="a folder of this machine with the backup, instead of the rig's own")
def restore(context: FleetContext, flags: Flags, source: str = "") -> None:
    """Bring back what provisioning removed or edited; fab provision may follow."""
    from provision.backup import command

    command.restore(context, flags, source)


@fleet_task(
    without=OF_PLAYS[1:],
    system="which system: a name of playbooks/vars/reinstall.yml (default: debian13)",
    undo="go back to the old system; the new one stays on the disk",
    commit="remove the old system",
    again="although the rig has that system already",
    accept_workstation="reinstall it although it looks like a personal computer",
)
def reinstall(
    context: FleetContext,
    flags: Flags,
    system: str = "",
    undo: bool = False,
    commit: bool = False,
    again: bool = False,
    accept_workstation: bool = False,
) -> None:
    """Put another system on a rig, over SSH; the old one comes back unless it works."""
    from provision.reinstall import command

    command.reinstall(
        context,
        flags,
        command.ReinstallRequest(system, undo, commit, again, accept_workstation),
    )


@fleet_task(without=OF_PLAYS)
def status(context: FleetContext, flags: Flags) -> None:
    """List the backups of a rig: where, of when, whether they are whole."""
    from provision.backup import command

    command.status(context, flags)


@fleet_task(file="the playbook")
def play(context: FleetContext, flags: Flags, file: str) -> None:
    """Play any playbook of ansible.builtin modules."""
    from provision.play import command

    command.play(context, flags, file)


@fleet_task(without=OF_PLAYS)
def facts(context: FleetContext, flags: Flags) -> None:
    """Show what a rig is: board, GPUs and their PCIe paths, mining OS, driver."""
    from provision.facts import command

    command.show_facts(context, flags)


@fleet_task(
    without=OF_PLAYS,
    quick="a minute or a few, less load",
    baseline="an earlier report.json: name what got worse beyond noise (repeatable)",
    report="the folder for the reports, instead of log/validate-TIME",
    select="only checks whose name matches, as pytest's -k",
)
def validate(
    context: FleetContext,
    flags: Flags,
    quick: bool = False,
    baseline: tuple[str, ...] = (),
    report: str = "",
    select: str = "",
) -> None:
    """Prove that a rig is what it should be: software, links, GPUs, collectives, no miner."""
    from provision.validate import command

    command.validate(context, flags, quick, baseline, report, select)


@fleet_task(
    without=OF_PLAYS[1:],
    driver="another driver: a branch (590) or a version (590.48.01)",
    torch="another PyTorch: a version (2.13.0)",
    within_branch="the newest driver of the rig's branch, as without --driver",
    quick="validate quickly, before and after",
    report="the folder for the reports, instead of log/upgrade-TIME",
)
def upgrade(
    context: FleetContext,
    flags: Flags,
    driver: str = "",
    torch: str = "",
    within_branch: bool = False,
    quick: bool = False,
    report: str = "",
) -> None:
    """Another driver or PyTorch, proven; back to what was if the rig gets worse or is lost."""
    from provision.upgrade import command
    from provision.upgrade.plan import UpgradeRequest

    command.upgrade(context, flags, UpgradeRequest(driver, torch, within_branch), quick, report)


@fleet_task(
    without=OF_PLAYS,
    parts="only these parts, comma-separated: collectives,pairs,transfers,gemm,ddp,fsdp,…",
    plan="quick or full: how many sizes and repeats",
    ranks="how many ranks a rig, instead of one a GPU",
    nodes="that many rigs as one world, instead of each for itself",
    interface="the network interface between them",
    min_bytes="smallest size (8, 1M)",
    max_bytes="largest size (256M)",
)
def bench(
    context: FleetContext,
    flags: Flags,
    parts: str = "",
    plan: str = "full",
    ranks: int = 0,
    nodes: int = 1,
    interface: str = "",
    min_bytes: str = "",
    max_bytes: str = "",
) -> None:
    """Measure collectives, copies and parallel workloads, in nccl-tests' columns."""
    from provision.bench import command
    from provision.engine.run_options import split_words

    sizes = {"min-bytes": min_bytes, "max-bytes": max_bytes}
    given = {name: value for name, value in sizes.items() if value}
    request = command.BenchRequest(
        plan, tuple(sorted(split_words(parts))), ranks, nodes, interface, given
    )
    command.bench(context, flags, request)


@fleet_task(
    without=OF_PLAYS,
    model="which, comma-separated (inventory/models/language.yml); or a model by its numbers:",
    layers="a model's layers",
    hidden="its hidden size",
    heads="its attention heads",
    kv_heads="its key and value heads",
    feed_forward="the inner size of its feed-forward network (of one expert)",
    vocabulary="its vocabulary",
    experts="its experts a layer",
    top_k="experts that a token goes to",
    precision="of weights: fp32, bf16, int8 or int4",
    sequence="tokens a sequence",
    batch="sequences a microbatch and GPU",
    accumulate="microbatches a GPU and step",
    streams="sequences that are served at once",
    gpus='GPUs, instead of a rig\'s: "3x RTX 3090"',
    links='the link of each GPU: "gen2x1,gen2x1,gen3x16"',
    board="the board",
    cpu="the processor",
    p2p="GPUs reach each other without the host's memory",
    measured="a benchmark's document (deeprig-bench) instead of the rig's newest",
    explain="show the formula and the source of every number",
    plot="write slowdown against lanes to this file (.svg, .html)",
)
def advise(
    context: FleetContext,
    flags: Flags,
    model: str = "",
    layers: str = "",
    hidden: str = "",
    heads: str = "",
    kv_heads: str = "",
    feed_forward: str = "",
    vocabulary: str = "",
    experts: str = "",
    top_k: str = "",
    precision: str = "bf16",
    sequence: str = "2048",
    batch: str = "1",
    accumulate: str = "4",
    streams: str = "1",
    gpus: str = "",
    links: str = "",
    board: str = "",
    cpu: str = "",
    p2p: bool = False,
    measured: str = "",
    explain: bool = False,
    plot: str = "",
) -> None:
    """Predict what fits on a rig's GPUs, how fast, and whether its lanes are enough."""
    from provision.advise import command

    command.advise(context, flags, command.parse_options(locals()))


namespace = Collection(
    adopt,
    assess,
    checklist,
    provision,
    backup,
    restore,
    status,
    play,
    facts,
    validate,
    upgrade,
    reinstall,
    bench,
    advise,
)
namespace.add_collection(Collection.from_module(lab.tasks), name="lab")
