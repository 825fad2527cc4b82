"""The pipeline schedule 1F1B, played: who computes, sends and waits when.

One forward, one backward (arXiv 2104.04473, section 2.2), with messages as PyTorch's Schedule1F1B
has them: a send is waited for together with the receive that follows it. Without messages the step
is (m + p - 1) x (forward + backward): the bubble is (p - 1) / m of the work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# A message: sender, receiver, pass ("f" or "b") and microbatch.
Message = tuple[int, int, str, int]


@dataclass(frozen=True)
class Stage:
    """Seconds that a stage computes for one microbatch."""

    forward: float
    backward: float


@dataclass(frozen=True)
class Action:
    """One thing a stage does: compute for `seconds`, post messages, or wait for them."""

    kind: str
    seconds: float = 0.0
    messages: tuple[Message, ...] = ()


def program(stage: int, count: int, microbatches: int, work: Stage) -> list[Action]:
    """Return the operations of one stage of `count` in a step, in order."""
    actions: list[Action] = []

    def message(way: str, index: int, sends: bool) -> tuple[Message, ...]:
        other = stage + (1 if (way == "f") == sends else -1)
        if not 0 <= other < count:
            return ()
        return ((stage, other, way, index),) if sends else ((other, stage, way, index),)

    def post(messages: tuple[Message, ...], wait: bool) -> None:
        actions.append(Action("post", messages=messages))
        if wait:
            actions.append(Action("wait", messages=messages))

    warm = min(microbatches, count - stage)
    sent: tuple[Message, ...] = ()
    for index in range(warm):
        post(message("f", index, False), wait=True)
        actions.append(Action("compute", work.forward))
        actions.append(Action("wait", messages=sent))
        sent = message("f", index, True)
        if index != warm - 1:
            post(sent, wait=False)
    forwards, backwards = warm, 0
    while True:
        post(sent + message("b", backwards, False), wait=True)
        actions.append(Action("compute", work.backward))
        sent = message("b", backwards, True)
        backwards += 1
        if forwards == microbatches:
            break
        post(sent + message("f", forwards, False), wait=True)
        actions.append(Action("compute", work.forward))
        sent = message("f", forwards, True)
        forwards += 1
    post(sent, wait=False)
    while backwards < microbatches:
        post(message("b", backwards, False), wait=True)
        actions.append(Action("compute", work.backward))
        actions.append(Action("wait", messages=sent))
        sent = message("b", backwards, True)
        post(sent, wait=False)
        backwards += 1
    actions.append(Action("wait", messages=sent))
    return actions


def one_forward_one_backward(
    stages: Sequence[Stage],
    microbatches: int,
    send: Callable[[int, int], float],
    duplex: bool = True,
) -> tuple[float, float]:
    """Seconds until the last stage is done, and those that the busiest stage's link sends.

    send(a, b): seconds of a message. It begins when both sides posted it and neither a sends nor b
    receives another one. Without `duplex`, messages both ways between two stages take turns.

    >>> one_forward_one_backward([Stage(1, 2)] * 3, 4, lambda a, b: 0.0)
    (18.0, 0.0)
    """
    count = len(stages)
    programs = [program(at, count, microbatches, work) for at, work in enumerate(stages)]
    position, clock = [0] * count, [0.0] * count
    posted: dict[Message, list[float]] = defaultdict(list)
    done: dict[Message, float] = {}
    out, into, busy = [0.0] * count, [0.0] * count, [0.0] * count
    pair: dict[frozenset[int], float] = defaultdict(float)
    while any(position[at] < len(programs[at]) for at in range(count)):
        # The earliest stage that can go on: so messages take their turns in the order of time.
        able = [
            at
            for at in range(count)
            if position[at] < len(programs[at])
            and (
                programs[at][position[at]].kind != "wait"
                or all(message in done for message in programs[at][position[at]].messages)
            )
        ]
        at = min(able, key=lambda stage: clock[stage])
        action = programs[at][position[at]]
        position[at] += 1
        if action.kind == "compute":
            clock[at] += action.seconds
        elif action.kind == "wait":
            clock[at] = max([clock[at], *(done[message] for message in action.messages)])
        for message in action.messages if action.kind == "post" else ():
            posted[message].append(clock[at])
            if len(posted[message]) == 2:
                sender, receiver = message[0], message[1]
                took = send(sender, receiver)
                between = frozenset((sender, receiver))
                turn = 0.0 if duplex else pair[between]
                done[message] = max(*posted[message], out[sender], into[receiver], turn) + took
                out[sender] = into[receiver] = pair[between] = done[message]
                busy[sender] += took
    return max(clock), max(busy)
