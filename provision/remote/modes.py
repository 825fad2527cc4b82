"""Owners, groups and modes as Ansible's modules take them."""

from __future__ import annotations

import grp
import pwd
import re
import stat

from provision.remote.host import ModuleFailure
from provision.remote.options import Option

ATTRIBUTES = {
    "mode": Option("mode"),
    "owner": Option(),
    "group": Option(),
}


def user_id(name: str) -> int:
    """Return the uid of a user's name or number; raises ModuleFailure."""
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ModuleFailure(f"the user '{name}' does not exist") from None


def group_id(name: str) -> int:
    """Return the gid of a group's name or number; raises ModuleFailure."""
    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ModuleFailure(f"the group '{name}' does not exist") from None


def mode_bits(mode: str, current: int, is_directory: bool = False) -> int:
    """Apply a mode as chmod accepts it ("0644", "u=rw,g=r,o=", "a+X") to the current bits."""
    if re.fullmatch(r"[0-7]{3,5}", mode):
        return int(mode, 8)
    bits = current
    for clause in mode.split(","):
        match = re.fullmatch(r"([ugoa]*)((?:[-+=][rwxXst]*)+)", clause.strip())
        if not match:
            raise ModuleFailure(
                f"'{mode}' is not a file mode: write it as \"0644\" or u=rw,g=r,o=r"
            )
        who = match.group(1) or "a"
        for action, letters in re.findall(r"([-+=])([rwxXst]*)", match.group(2)):
            bits = _symbolic(bits, who, action, letters, is_directory)
    return bits


def _symbolic(bits: int, who: str, action: str, letters: str, is_directory: bool) -> int:
    shifts = {"u": 6, "g": 3, "o": 0}
    classes = list(shifts) if "a" in who else [letter for letter in "ugo" if letter in who]
    execute = bits & 0o111 or is_directory
    mask = 0
    special = 0
    for letter in classes:
        value = sum({"r": 4, "w": 2, "x": 1}.get(letter, 0) for letter in letters)
        if "X" in letters and execute:
            value |= 1
        mask |= value << shifts[letter]
        if "s" in letters and letter in "ug":
            special |= stat.S_ISUID if letter == "u" else stat.S_ISGID
    if "t" in letters:
        special |= stat.S_ISVTX
    if action == "+":
        return bits | mask | special
    if action == "-":
        return bits & ~(mask | special)
    cleared = bits
    for letter in classes:
        cleared &= ~(0o7 << shifts[letter])
    return cleared | mask | special
