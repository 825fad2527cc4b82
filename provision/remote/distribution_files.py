"""Give system files back to the distribution before the folders of a mining system go.

A link into these folders becomes the distribution's file again where a package owns it, a plain
file where the network, SSH, the boot or a login needs it, and is removed elsewhere. Files that the
mining system rewrote become the distribution's; in files of users, what would keep a login from
ending is switched off. Everything is copied below --aside first.

playbooks/tasks/demine/distribution.yml brings this to the rig and runs it. It prints a line for
each change, and ends with 1 and a line for each file that it could not give back.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import Iterable, Iterator, Sequence

from provision.remote.login_sessions import switch_off_lines, switch_off_sessions

#: Where links into a mining system's folders matter to the distribution.
PLACES = (
    *("/etc", "/lib/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd", "/lib/udev"),
    *("/usr/lib/udev", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin"),
    "/usr/local/sbin",
)
UNIT_FOLDERS = (
    *("/etc/systemd/system", "/usr/local/lib/systemd/system", "/lib/systemd/system"),
    "/usr/lib/systemd/system",
)
#: Settings of the network and of SSH: the files that they name must stay, too.
CONNECTION = re.compile(
    r"/etc/(network/|netplan/|systemd/network/|NetworkManager/|wpa_supplicant/|dhcp/|dhcpcd|ssh/|"
    r"hosts$|resolv\.conf$|iptables/|nftables|ufw/|ppp/|openvpn/|wireguard/)"
)
#: Settings of the boot, of logins and of the whole system: their content stays as it is.
SETTINGS = re.compile(
    r"/etc/(environment$|default/|fstab$|crypttab$|hostname$|nsswitch\.conf$|pam\.d/|security/|"
    r"ssl/|sudoers|passwd|group|shadow|gshadow|subuid|subgid|shells$|login\.defs$|profile$|"
    r"bash\.bashrc$|localtime$|timezone$|locale|modules|kernel/|apt/(?!sources\.list\.d/)|"
    r"initramfs-tools/|udev/rules\.d/.*net|systemd/[^/]+\.conf|cloud/|ca-certificates)"
)
ESSENTIAL_UNITS = re.compile(
    r"(ssh(d|@.*)?|networking|network-?manager|ifup@.*|wpa_supplicant(@.*)?|dhcpcd|connman|"
    r"dbus(-broker)?|user@.*|((serial|container|console)-)?getty(@.*)?|netplan.*|"
    r"systemd-(networkd|networkd-wait-online|resolved|logind|udevd|journald|user-sessions))"
    r"\.(service|socket)",
    re.IGNORECASE,
)
#: The distribution's own copies of files that no package lists.
COPIES = {
    "/etc/profile": ("/usr/share/base-files/profile",),
    "/etc/nsswitch.conf": ("/usr/share/libc-bin/nsswitch.conf",),
    "/etc/ssh/sshd_config": ("/usr/share/openssh/sshd_config",),
    "/etc/default/grub": ("/usr/share/grub/default/grub",),
}
PACKAGE_LISTS = "/var/lib/dpkg/info"
PACKAGE_CACHE = "/var/cache/apt/archives"
#: Copies of the files that settings of the network name.
KEPT = "/etc/deeprig/kept"
LARGEST = 1 << 20  # bytes of such a file
HOMES = ("/home/", "/root/")
#: Where a file that no package owns is the mining system's own.
ADDED = re.compile(
    r"/etc/(update-motd\.d/|ssh/sshrc$|skel/|network/if-[a-z-]+\.d/|NetworkManager/dispatcher\.d/|"
    r"networkd-dispatcher/|dhcp/dhclient-[a-z]+-hooks\.d/)"
)


class NoOriginalError(Exception):
    """The distribution's file is not available."""


def spellings(path: str) -> tuple[str, str]:
    """Return both names of a file on a system with a merged /usr."""
    return (path, path[len("/usr") :] if path.startswith("/usr/") else f"/usr{path}")


def unit_paths(name: str) -> list[str]:
    """Return where a unit may be, and the template of an instance."""
    template = re.sub(r"@[^.]+\.", "@.", name)
    return [f"{folder}/{unit}" for unit in (name, template) for folder in UNIT_FOLDERS]


def is_essential(path: str) -> bool:
    """Return whether a file is a unit without which the rig is unreachable."""
    return path.startswith(UNIT_FOLDERS) and bool(
        ESSENTIAL_UNITS.fullmatch(path.rpartition("/")[2])
    )


class DistributionFiles:
    """Gives files back. folders: of the mining systems. aside: where copies go."""

    def __init__(self, folders: Sequence[str], aside: str, work: str, root: str = "") -> None:
        self.folders = tuple(folders)
        self.aside = aside
        self.work = work
        self.root = root
        self.removed: set[str] = set()
        self._owners: dict[str, str] | None = None

    def real(self, path: str) -> str:
        """Return where a path of the rig is on this machine."""
        return f"{self.root}{path}"

    def text(self, path: str) -> str:
        """Return a file's text; bytes that are not UTF-8 survive when it is written again."""
        with open(self.real(path), encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()

    def is_inside(self, path: str) -> bool:
        """Return whether a path is in a folder of the mining systems."""
        return any(path == folder or path.startswith(f"{folder}/") for folder in self.folders)

    def target(self, path: str) -> str:
        """Return where a link leads, from the root on; an empty text for anything else."""
        if not os.path.islink(self.real(path)):
            return ""
        return os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(self.real(path))))

    def content(self, path: str) -> str | None:
        """Return the file at the end of a chain of links, if it exists."""
        for _ in range(8):
            following = self.target(path)
            if not following:
                return path if os.path.isfile(self.real(path)) else None
            path = following
        return None

    def walk(self, places: Iterable[str]) -> Iterator[str]:
        """Yield the files and links below some folders, without those of a merged /usr twice."""
        for place in places:
            if any(os.path.islink(self.real(part)) for part in (place, os.path.dirname(place))):
                continue
            for folder, folders, names in os.walk(self.real(place)):
                for name in (*folders, *names):
                    yield os.path.join(folder, name)[len(self.root) :]

    # The distribution's own files.

    def owner(self, path: str) -> str:
        """Return the package that installed a file, or an empty text."""
        if self._owners is None:
            self._owners = {}
            folder = self.real(PACKAGE_LISTS)
            for file in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
                if file.endswith(".list"):
                    package = file[: -len(".list")].partition(":")[0]
                    lines = self.text(f"{PACKAGE_LISTS}/{file}").splitlines()
                    self._owners.update(dict.fromkeys(lines, package))
        return next((self._owners[name] for name in spellings(path) if name in self._owners), "")

    def original(self, path: str) -> str:
        """Return a file on this machine with the distribution's content. Raises NoOriginalError."""
        for copy in (*COPIES.get(path, ()), f"/var/lib/ucf/cache/{path.replace('/', ':')}"):
            if os.path.isfile(self.real(copy)) and not self.target(copy):
                return self.real(copy)
        package = self.owner(path)
        if not package:
            raise NoOriginalError("no package owns it")
        folder = os.path.join(self.work, package)
        if not os.path.isdir(folder):
            archive = self._archive(package)
            os.mkdir(folder)
            run(["dpkg-deb", "--extract", archive, folder], self.work)
        for name in spellings(path):
            if os.path.lexists(folder + name):
                return folder + name
        raise NoOriginalError(f"the package {package} does not contain it any more")

    def _archive(self, package: str) -> str:
        """Return a package's file: from apt's cache, or from a repository."""
        shown = run(["dpkg-query", "--show", "--showformat=${Version} ${Architecture}\n", package])
        version, _, architecture = shown.strip().splitlines()[0].partition(" ")
        name = f"{package}_{version.replace(':', '%3a')}_{architecture}.deb"
        if os.path.isfile(self.real(f"{PACKAGE_CACHE}/{name}")):
            return self.real(f"{PACKAGE_CACHE}/{name}")
        try:
            run(["apt-get", "--quiet", "download", f"{package}={version}"], self.work)
        except NoOriginalError:  # a repository has only the latest version
            run(["apt-get", "--quiet", "download", package], self.work)
        names = os.listdir(self.work)
        return os.path.join(self.work, next(x for x in names if x.startswith(f"{package}_")))

    # Changes.

    def keep_aside(self, path: str) -> None:
        """Copy a file or link below the folder for what was removed."""
        copy = f"{self.aside}{path}"
        os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
        number = 1
        while os.path.lexists(copy):
            copy, number = f"{self.aside}{path}.~{number}~", number + 1
        shutil.copy2(self.real(path), copy, follow_symlinks=False)

    def replace(self, path: str, source: str) -> None:
        """Replace a file by a copy of another one, in one step."""
        draft = f"{self.real(path)}.deeprig-new"
        if os.path.lexists(draft):
            os.unlink(draft)
        shutil.copy2(source, draft, follow_symlinks=False)
        os.replace(draft, self.real(path))

    def give_back(self, path: str) -> str:
        """Replace a file by the distribution's; return what was done. Raises NoOriginalError."""
        if path.startswith(HOMES):
            return self.switch_off(path)
        try:
            source = self.original(path)
        except NoOriginalError:
            if ADDED.match(path):
                return self.remove(path)
            if self._switched_off(path) == self.text(path):
                raise
            return self.switch_off(path)
        self.keep_aside(path)
        self.replace(path, source)
        return "original"

    def _switched_off(self, path: str) -> str:
        text = switch_off_sessions(self.text(path))
        return switch_off_lines(text, self.folders) if path.startswith("/etc/pam.d/") else text

    def switch_off(self, path: str) -> str:
        """Comment out what keeps a login from ending, with the rights of the file's owner."""
        info = os.stat(self.real(path), follow_symlinks=False)
        self.keep_aside(path)
        with rights_of(info):
            text = self._switched_off(path)
            with open(self.real(path), "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
        return "switched off"

    def make_plain(self, path: str, source: str) -> str:
        """Replace a link by a plain file with the content that it leads to."""
        self.keep_aside(path)
        self.replace(path, self.real(source))
        self.keep_named_files(path, programs=is_essential(path))
        return "plain"

    def keep_named_files(self, path: str, programs: bool = False) -> bool:
        """Copy the mining systems' files that a setting of the network or SSH names.

        programs: also those that it runs. Else they stay, for whoever looks for miners to find.
        """
        if ADDED.match(path) or not (CONNECTION.match(path) or is_essential(path)):
            return False
        text = kept = self.text(path)
        places = "|".join(map(re.escape, self.folders))
        for name in sorted(set(re.findall(rf"(?<![\w.-])(?:{places})/[\w./@+-]+", text))):
            file = self.real(name)
            if not os.path.isfile(file) or os.path.getsize(file) > LARGEST:
                continue
            if programs or not is_program(file):
                os.makedirs(os.path.dirname(self.real(KEPT + name)), mode=0o755, exist_ok=True)
                shutil.copy2(file, self.real(KEPT + name))
                kept = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])", KEPT + name, kept)
        if kept != text:
            with open(self.real(path), "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(kept)
        return kept != text

    def remove(self, path: str) -> str:
        """Remove a link."""
        self.keep_aside(path)
        os.unlink(self.real(path))
        self.removed.update(spellings(path))
        return "removed"

    def replace_link(self, path: str) -> str:
        """Replace a link into the mining system; return what was done. Raises NoOriginalError."""
        source = self.content(path)
        if _is_wanted(path):
            return self._start_again(path)
        is_setting = bool(CONNECTION.match(path) or SETTINGS.match(path)) and not ADDED.match(path)
        if is_setting and source:
            return self.make_plain(path, source)
        if self.owner(path) or path in COPIES:
            try:
                original = self.original(path)
            except NoOriginalError:
                if not source:
                    raise
                return self.make_plain(path, source)
            self.keep_aside(path)
            self.replace(path, original)
            return "original"
        if source and is_essential(path):
            return self.make_plain(path, source)
        return self.remove(path)

    def _start_again(self, path: str) -> str:
        """Let a link that starts a unit lead to the unit's new file; remove it if there is none."""
        candidates = (unit for unit in unit_paths(os.path.basename(path)) if self.content(unit))
        unit = next((unit for unit in candidates if not self.is_inside(self.target(unit))), "")
        if not unit:
            return self.remove(path)
        self.keep_aside(path)
        os.unlink(self.real(path))
        os.symlink(unit, self.real(path))
        return "plain"

    def changes(self, rewritten: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Do everything; yield what was done and the path, or `problem` and a text."""
        present = [path for path in rewritten if os.path.isfile(self.real(path))]
        for path in (path for path in present if not self.target(path)):
            try:
                yield self.give_back(path), path
            except NoOriginalError as error:
                yield "problem", f"{path}: {error}"
        links = [path for path in self.walk(PLACES) if self.is_inside(self.target(path))]
        for path in sorted(links, key=lambda path: (_is_wanted(path), path)):
            try:
                yield self.replace_link(path), path
            except NoOriginalError as error:
                yield "problem", f"{path}: {error}"
        before = -1
        while before != len(self.removed):  # a link may lead to a link that leads to a unit
            before = len(self.removed)
            for path in self.walk(UNIT_FOLDERS):
                if self.target(path) in self.removed:
                    yield self.remove(path), path
        for path in self.walk(("/etc", *UNIT_FOLDERS)) if self.folders else ():
            is_plain = os.path.isfile(self.real(path)) and not self.target(path)
            if is_plain and self.keep_named_files(path):
                yield "plain", path


def is_program(file: str) -> bool:
    """Return whether a file can be run, or is a script or a binary."""
    with open(file, "rb") as stream:
        return os.access(file, os.X_OK) or stream.read(4).startswith((b"#!", b"\x7fELF"))


def _is_wanted(path: str) -> bool:
    """Return whether a link is in a folder of units that another unit starts."""
    return os.path.dirname(path).endswith((".wants", ".requires", ".upholds"))


@contextmanager
def rights_of(info: os.stat_result) -> Iterator[None]:
    """Act as the owner of a file: a home is its owner's, who may put links in the way."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(info.st_gid)
    os.seteuid(info.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def run(command: Sequence[str], folder: str | None = None) -> str:
    """Return what a command prints. Raises NoOriginalError with its last line."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise NoOriginalError(f"{command[0]}: {lines[-1]}")
    return done.stdout


def main() -> int:
    """Return 0, or 1 after the list of what could not be given back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aside", required=True, help="the folder for copies")
    parser.add_argument("--folder", action="append", default=[], help="of a mining system")
    parser.add_argument("rewritten", nargs="*", help="files that the mining system rewrote")
    args = parser.parse_args()
    problems = []
    with tempfile.TemporaryDirectory(prefix="deeprig-") as work:
        os.chmod(work, 0o755)  # apt-get downloads as a user without rights
        files = DistributionFiles(args.folder, args.aside, work)
        for done, text in files.changes(args.rewritten):
            if done == "problem":
                problems.append(text)
            else:
                print(f"{done} {text}", flush=True)
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
