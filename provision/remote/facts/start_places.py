"""Where a system keeps what starts by itself: units, crontabs, boot scripts, logins, desktops."""

from __future__ import annotations

from typing import Iterable, Iterator

from provision.remote.facts.tree import Tree

INIT_SCRIPTS = "/etc/init.d"
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/transient",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
CRON_FILES = (
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.d/*",
    "/etc/cron.hourly/*",
    "/etc/cron.daily/*",
    "/etc/cron.weekly/*",
    "/etc/cron.monthly/*",
    "/var/spool/cron/crontabs/*",
    "/var/spool/cron/*",
)
#: Scripts of the boot and of the network, and jobs of at(1), which the rig runs once.
BOOT_FILES = (
    "/etc/rc.local",
    "/etc/rc.d/rc.local",
    "/etc/network/if-up.d/*",
    "/etc/NetworkManager/dispatcher.d/*",
    "/var/spool/cron/atjobs/*",
    "/var/spool/at/*",
)
#: Settings of programs that start others: their lines are commands after a key.
STARTER_SETTINGS = (
    "/etc/inittab",
    "/etc/init/*.conf",
    "/etc/supervisord.conf",
    "/etc/supervisor/supervisord.conf",
    "/etc/supervisor/conf.d/*",
    "/etc/supervisor.d/*",
    "/etc/supervisord.d/*",
    "/etc/udev/rules.d/*.rules",
)
LOGIN_FOLDERS = ("/root", "/home/*")
LOGIN_FILES = (
    *(".bash_profile", ".bash_login", ".profile", ".bashrc", ".bash_aliases"),
    *(".zshenv", ".zprofile", ".zshrc", ".zlogin", ".kshrc", ".mkshrc"),
    *(".cshrc", ".tcshrc", ".login", ".config/fish/config.fish", ".config/fish/conf.d/*.fish"),
    *(".xprofile", ".xinitrc", ".xsession", ".xsessionrc", ".Xclients", ".xserverrc"),
    *(".config/openbox/autostart", ".config/openbox/autostart.sh", ".fluxbox/startup"),
    *(".icewm/startup", ".config/autostart-scripts/*", ".config/plasma-workspace/env/*"),
    *(".config/i3/config", ".i3/config", ".config/sway/config", ".config/bspwm/bspwmrc"),
    *(".vnc/xstartup", ".ssh/rc", ".screenrc", ".tmux.conf", ".config/tmux/tmux.conf"),
)
AUTOSTART = (
    ".config/autostart/*.desktop",
    ".config/lxsession/*/autostart",
    ".config/systemd/user/*.service",
    ".local/share/systemd/user/*.service",
)
SYSTEM_LOGIN_FILES = (
    "/etc/profile",
    "/etc/profile.d/*",
    "/etc/bash.bashrc",
    "/etc/bashrc",
    "/etc/zsh/*",
    "/etc/zshrc",
    "/etc/csh.cshrc",
    "/etc/csh.login",
    "/etc/fish/config.fish",
    "/etc/fish/conf.d/*",
    "/etc/X11/Xsession.d/*",
    "/etc/X11/xinit/xinitrc",
    "/etc/X11/xinit/xinitrc.d/*",
    "/etc/xdg/openbox/autostart",
    "/etc/xdg/lxsession/*/autostart",
    "/etc/xdg/autostart/*.desktop",
    "/etc/systemd/user/*.service",
    "/etc/update-motd.d/*",
    "/etc/ssh/sshrc",
)
#: Where systemd finds the units of a user's own manager.
USER_UNIT_FOLDERS = (
    "/home/*/.config/systemd/user",
    "/home/*/.local/share/systemd/user",
    "/root/.config/systemd/user",
    "/etc/systemd/user",
)
#: What starts a unit of the same name.
STARTERS = (".timer", ".path", ".socket")


def paths(tree: Tree, patterns: Iterable[str]) -> Iterator[str]:
    """Yield the paths that match, pattern by pattern."""
    for pattern in patterns:
        yield from tree.glob(pattern)


def login_paths(tree: Tree) -> Iterator[str]:
    """Yield the files that a login reads, in a terminal or on a desktop."""
    yield from paths(tree, SYSTEM_LOGIN_FILES)
    for folder in LOGIN_FOLDERS:
        yield from paths(tree, (f"{folder}/{name}" for name in (*LOGIN_FILES, *AUTOSTART)))


def unit_files(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the name and path of each service that is not masked, as systemd finds it."""
    seen = set()
    for folder in UNIT_FOLDERS:
        for name in tree.names(folder):
            if name.endswith(".service") and name not in seen:
                seen.add(name)
                path = f"{folder}/{name}"
                if tree.target(path) != "/dev/null":
                    yield name, path
    for script in tree.names(INIT_SCRIPTS):
        if f"{script}.service" not in seen:
            yield f"{script}.service", f"{INIT_SCRIPTS}/{script}"


def drop_ins(tree: Tree, name: str) -> list[str]:
    """Return the drop-ins of a unit, in the order in which systemd reads them."""
    prefix, at, _ = name.partition("@")
    names = [name] if not at else [f"{prefix}@.service", name]
    files = {
        path.rpartition("/")[2]: path
        for folder in reversed(UNIT_FOLDERS)
        for unit in names
        for path in tree.glob(f"{folder}/{unit}.d/*.conf")
    }
    return [files[file] for file in sorted(files)]


def enabled_instances(tree: Tree, name: str) -> list[str]:
    """Return the enabled instances of a template; of any other unit, its own name."""
    prefix, at, _ = name.partition("@.service")
    if not at:
        return [name]
    links = (path.rpartition("/")[2] for path in tree.glob(f"{UNIT_FOLDERS[0]}/*.wants/*.service"))
    return sorted({link for link in links if link.startswith(f"{prefix}@") and link != name})


def starters_of(tree: Tree, name: str) -> Iterator[tuple[str, str]]:
    """Yield the name and path of the timer, path unit or socket that starts a service."""
    stem = name[: -len(".service")]
    for suffix in STARTERS:
        for folder in UNIT_FOLDERS:
            starter = f"{folder}/{stem}{suffix}"
            if tree.exists(starter) and tree.target(starter) != "/dev/null":
                yield f"{stem}{suffix}", starter
                break
