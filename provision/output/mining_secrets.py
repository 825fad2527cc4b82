"""Masks what miners keep secret by its place: their command lines and settings.

A wallet or a pool password has no form by which it is known for sure.
"""

from __future__ import annotations

import re
from functools import cache

from provision.remote.facts.mining_signs import load_marks

MASK = "********"
#: An option with its value. What begins with a dash is the next option.
_OPTION = re.compile(
    r"(?P<option>(?:^|(?<=\s))-{1,2}[\w-]+(?:\s*=\s*|\s+))(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s\"'-][^\s\"']*)"
)
_URL = re.compile(r"(?<=://)[^\s\"'\\]+")
#: A setting: NAME=value, name: value, "name": value.
_SETTING = re.compile(
    r"(?m)^(?P<name>[\s{,:;#]*(?:deeprig:\s*)?(?:export\s+|-\s+)?[\"']?[\w.-]+[\"']?\s*[=:]\s*)(?P<value>\S.*)$"
)
#: Files in which lines may be commands of miners, whatever these are called.
_COMMAND_FILES = re.compile(
    r"/cron|\.service$|\.conf$|/rc\.local$|/etc/(?:profile|rc\.d|init|X11|xdg|udev|supervisor)|"
    r"/(?:home/[^/]+|root)/|\.desktop$|/autostart$"
)
#: Files that a mining system or a miner has its settings in.
_SETTINGS_FILES = re.compile(
    r"^/(?:hive-config|hive|media/storage|opt/(?:mmp|ethos)|home/(?:minerstat|ethos|miner))/|"
    r"^/root/(?:config|utils)"
)


@cache
def _command_of_miner() -> re.Pattern[str]:
    """Return the pattern of a miner's name with arguments, to the end of the line."""
    marks = load_marks()
    names = "|".join(sorted(map(re.escape, {*marks.programs, *marks.ambiguous}), key=len)[::-1])
    # Advice names a miner, too, and has options of ours.
    tail = r"\s(?=[^\n]*?-)(?!.*\bfab\s)(?P<tail>.*)$"
    return re.compile(rf"(?im)(?<![\w.-])(?:{names})[\w.+-]*[\"']?{tail}")


@cache
def _pool_url() -> re.Pattern[str]:
    """Return the pattern of a line with a pool's URL."""
    pattern = next(pattern for kind, pattern in load_marks().patterns if kind == "pool")
    return re.compile(rf"(?m)^.*(?:{pattern.pattern}).*$")


def mask_commands_of_miners(text: str) -> str:
    """Return a text in which the arguments of miners have no values.

    >>> mask_commands_of_miners("t-rex -a kawpow -o stratum+tcp://me:x@pool.example:1 -p x -q")
    't-rex -a ******** -o ******** -p ******** -q'
    """
    if "://" in text:
        text = _pool_url().sub(lambda match: mask_arguments(match.group(0)), text)
    return _command_of_miner().sub(_mask_tail, text)


def _mask_tail(match: re.Match[str]) -> str:
    start = match.start("tail") - match.start(0)
    return match.group(0)[:start] + mask_arguments(match["tail"])


def mask_arguments(text: str) -> str:
    """Return command lines with the values of options, and what follows a URL's scheme, masked."""
    text = _OPTION.sub(lambda match: match["option"] + MASK, text)
    return _URL.sub(MASK, text)


def mask_file(path: str, text: str) -> str:
    """Return the content of a file with what its place makes a secret masked."""
    if "deeprig" in path:
        return text  # our own files have no secrets of the rig
    if _SETTINGS_FILES.search(path):
        text = _SETTING.sub(lambda match: match["name"] + MASK, text)
    if _SETTINGS_FILES.search(path) or _COMMAND_FILES.search(path):
        text = mask_arguments(text)
    return mask_commands_of_miners(text)
