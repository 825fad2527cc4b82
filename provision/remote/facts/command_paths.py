"""The files that command lines and scripts name: absolute, relative, after `cd`, below a home.

This is not a shell: it reads words, and a caller checks whether there is such a file.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass

from provision.remote.facts.running import SHELLS

PATH = re.compile(r"(?<![\w.-])/[\w.+/-]+")
#: Between two commands of one line.
OPERATORS = re.compile(r"&&|\|\||[;|&()\n`]")
HOME = re.compile(r"^(?:~|\$HOME|\$\{HOME\})(?=/|$)")
#: The folder of the script itself.
OWN_FOLDER = re.compile(r"\$\(\s*dirname\s+[^()]*\)|`\s*dirname\s+[^`]*`|\$\{0%/\*\}")
#: Before a command: assignments, crontab's times, the shell's keywords, programs that run others.
BEFORE = re.compile(
    r"[A-Za-z_]\w*=.*|@\w+|[\d*][\d*/,-]*|!|\{|then|do|else|if|while|until|exec|nohup|sudo|nice|ionice|"
    r"time|command|env|setsid|stdbuf"
)
#: Programs that run the command that follows their own options.
LAUNCHERS = frozenset(
    (
        *("screen", "tmux", "xterm", "x-terminal-emulator", "gnome-terminal", "lxterminal"),
        *("timeout", "taskset", "chrt", "flock", "su", "runuser", "start-stop-daemon", "doas"),
        *("systemd-run", "systemd-inhibit", "watch", "unbuffer", "script", "strace", "numactl"),
        *("prlimit", "firejail", "chroot", "daemonize", "dbus-launch", "xargs", "parallel"),
    )
)
#: Programs whose first operand is a script: shells, and the ways in which they read a file.
RUNNERS = frozenset((*SHELLS, ".", "source"))
NAME = re.compile(r"[\w.+~$/{}-]+")


@dataclass(frozen=True)
class NamedFile:
    """A file that a text names. path: from the root on; written: as the text has it.

    folder: where the command runs. home: of its user. is_run: by a shell, or as the command itself.
    command: the words that name it.
    """

    path: str
    written: str
    folder: str
    home: str
    is_run: bool
    command: str = ""


def find_named_files(
    text: str, folder: str = "/", home: str = "/root", own_folder: str = ""
) -> list[NamedFile]:
    """Return the files that a command line or a script names, each once.

    folder: where it runs. home: of its user. own_folder: of the script itself.

    >>> [file.path for file in find_named_files("cd ~/lol && ./start.sh", home="/home/me")]
    ['/home/me/lol/start.sh']
    """
    return list(_find_named_files(text, folder, home, own_folder))


# Many units run the same scripts, and a run reads them twice: before its changes, and at its end.
@functools.lru_cache(maxsize=512)
def _find_named_files(text: str, folder: str, home: str, own_folder: str) -> tuple[NamedFile, ...]:
    files: dict[str, NamedFile] = {}

    def add(written: str, is_run: bool) -> None:
        path = resolve(written, folder, home)
        if path not in files or (is_run and not files[path].is_run):
            files[path] = NamedFile(path, written, folder, home, is_run, command)

    text = OWN_FOLDER.sub(own_folder or folder, text)
    for command in OPERATORS.split(text):
        words = split_command(command)
        if not words:
            continue
        program, arguments = words[0].lstrip("@-:+!"), words[1:]
        if program == "cd":
            folder = resolve(arguments[0], folder, home) if arguments else home
            continue
        if program.rpartition("/")[2] in RUNNERS:
            operands = [word for word in arguments if word and not word.startswith("-")]
            if operands and NAME.fullmatch(operands[0]):
                add(operands[0], True)
            arguments = operands[1:]
        elif _is_path(program):
            add(program, True)
        for word in arguments:
            if _is_path(word):
                add(word, False)
        for absolute in PATH.findall(command) if "/" in command else ():
            add(absolute, False)
    return tuple(files.values())


def split_command(command: str) -> list[str]:
    """Return a command's words from its program on, after the programs that only launch it.

    >>> split_command("@reboot nohup /bin/sh -c 'cd /opt/x")
    ['cd', '/opt/x']
    >>> split_command("screen -dmS work timeout 60 ./run --gpu 0")
    ['./run', '--gpu', '0']
    """
    return list(_split_command(command))


@functools.lru_cache(maxsize=8192)
def _split_command(command: str) -> tuple[str, ...]:
    words = [word.strip("\"'") for word in command.split()]
    while words:
        if BEFORE.fullmatch(words[0]) or not words[0]:
            words = words[1:]
            continue
        program = words[0].lstrip("@-:+!").rpartition("/")[2]
        options = [word for word in words[1:] if word.startswith("-")]
        if program in SHELLS and any(re.fullmatch(r"-\w*c", option) for option in options):
            # The command that the shell runs.
            words = [word for word in words[1:] if not word.startswith("-")]
            continue
        launched = (i for i, word in enumerate(words) if i and _is_launched(word))
        start = next(launched, 0) if program in LAUNCHERS else 0
        if not start:
            break
        words = words[start:]
    return tuple(words)


def _is_launched(word: str) -> bool:
    """Return whether a word is where the command of a launching program begins."""
    return word == "cd" or word.rpartition("/")[2] in SHELLS or _is_path(word)


def resolve(word: str, folder: str, home: str) -> str:
    """Return a path as a command in a folder means it, from the root on."""
    return os.path.normpath(os.path.join("/", folder, HOME.sub(home, word)))


def _is_path(word: str) -> bool:
    """Return whether a word is a path that is certainly meant as one."""
    is_rooted = word.startswith(("/", "./", "../")) or HOME.match(word) is not None
    return is_rooted and NAME.fullmatch(word) is not None
