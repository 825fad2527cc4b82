"""What `fab reinstall` sees of a rig: the lines of playbooks/files/reinstall/survey.sh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from provision.boundary.decode import BoundaryError
from provision.boundary.patterns import INTERFACE, MAC, check_address, check_form
from provision.boundary.text import clean_line

MOST_LINES = 2000
TREE = r"\A/deeprig-[0-9]\Z"
UUID = r"\A[0-9A-Fa-f-]{4,36}\Z"


@dataclass(frozen=True)
class RoutedInterface:
    """A network interface with a default route. addresses: with prefix length; empty for DHCP."""

    name: str
    mac: str
    kind: str
    is_dhcp: bool = True
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True)
class SystemTree:
    """A system in a folder. digest: of the image that it was made of; "" for a part of one."""

    path: str
    digest: str
    name: str


@dataclass(frozen=True)
class ReinstallSurvey:
    """A rig, as `fab reinstall` needs to know it. Sizes are bytes.

    running: the tree that runs, "" for the system at the top of its file system. trial: whether its
    dead man's switch is armed. default: what GRUB boots by itself; "" for the old system.
    layers: names and kinds of devices below the root file system, as lsblk has them. old: the name
    of the system that a new one can go back to, if has_old; system_key: of a running system that
    fab reinstall made, as in the table. keys: TYPE BASE64 of the keys that open the login.
    """

    system: str
    kernel: str
    architecture: str
    boot_id: str
    running: str
    trial: bool
    device: str
    file_system: str
    uuid: str
    layers: tuple[tuple[str, str], ...] = ()
    room: int = 0
    inodes: int = 0
    memory: int = 0
    boot_file_system: str = ""
    boot_uuid: str = ""
    reads_custom: bool = False
    boots_once: bool = False
    has_environment: bool = False
    platforms: tuple[str, ...] = ()
    grub: str = ""
    firmware: str = "bios"
    secure_boot: bool = False
    missing: tuple[str, ...] = ()
    trees: tuple[SystemTree, ...] = ()
    default: str = ""
    image_bytes: int = 0
    old: str = ""
    has_old: bool = False
    system_key: str = ""
    sudo: str = "password"
    keys: tuple[str, ...] = ()
    interfaces: tuple[RoutedInterface, ...] = ()
    nameservers: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether a system runs that `fab reinstall` made, and that is not the default yet."""
        return bool(self.running) and self.default != self.running

    def tree(self, path: str) -> SystemTree | None:
        """Return a tree by its path, if it is there."""
        return next((tree for tree in self.trees if tree.path == path), None)


@dataclass
class _Rows:
    rows: list[list[str]] = field(default_factory=list)

    def first(self, key: str, count: int) -> list[str]:
        """Return the fields of the first line of a key, `count` of them; empty where it lacks."""
        row = next((row[1:] for row in self.rows if row[0] == key), [])
        return [*row, *[""] * count][:count]

    def all(self, key: str) -> list[list[str]]:
        return [row[1:] for row in self.rows if row[0] == key]


def parse_survey(text: str) -> ReinstallSurvey:
    """Return what a rig's answer means. Raises BoundaryError."""
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        raise BoundaryError(f"the rig's answer has {len(lines)} lines")
    rows = _Rows([[clean_line(word) for word in line.split("\t")] for line in lines])
    name, _, _, kernel, architecture = rows.first("system", 5)
    if not architecture:
        raise BoundaryError("the rig's answer is cut off")
    running, trial = rows.first("running", 2)
    device, file_system, uuid, _ = rows.first("root", 4)
    _, boot_file_system, boot_uuid = rows.first("boot", 3)
    custom, once = rows.first("grub_cfg", 2)
    _, free = rows.first("room", 2)
    firmware, secure = rows.first("firmware", 2)
    default = rows.first("default", 1)[0]
    trees = tuple(
        SystemTree(check_form("folder", TREE, path), *[*rest, "", ""][:2])
        for path, *rest in rows.all("tree")
    )
    return ReinstallSurvey(
        system=name,
        kernel=kernel,
        architecture=architecture,
        boot_id=rows.first("boot_id", 1)[0],
        running="" if running == "-" else check_form("folder", TREE, running),
        trial=bool(trial),
        device=device,
        file_system=file_system,
        uuid=check_form("UUID", UUID, uuid) if uuid else "",
        layers=tuple((row[0], row[1]) for row in rows.all("device") if len(row) > 1),
        room=_number(free) << 10,
        inodes=_number(rows.first("inodes", 1)[0]),
        memory=_number(rows.first("memory", 1)[0]) << 10,
        boot_file_system=boot_file_system,
        boot_uuid=check_form("UUID", UUID, boot_uuid) if boot_uuid else "",
        reads_custom=_number(custom) > 0,
        boots_once=_number(once) > 0,
        has_environment=_number(rows.first("grubenv", 1)[0]) == 1024,
        platforms=tuple(row[0] for row in rows.all("platform")),
        grub=rows.first("grub", 1)[0],
        firmware="uefi" if firmware == "uefi" else "bios",
        secure_boot=secure == "1",
        missing=tuple(row[0] for row in rows.all("missing")),
        trees=trees,
        default=default,
        image_bytes=_number(rows.first("image", 1)[0]),
        old=rows.first("old", 1)[0],
        has_old=rows.first("set_old", 1)[0] != "-",
        system_key=rows.first("set_system", 1)[0],
        sudo="free" if rows.first("sudo", 1)[0] == "free" else "password",
        keys=tuple(" ".join(row) for row in rows.all("key") if len(row) == 2),
        interfaces=tuple(_read_interfaces(rows)),
        nameservers=tuple(check_address(row[0]) for row in rows.all("nameserver")),
    )


def _read_interfaces(rows: _Rows) -> Sequence[RoutedInterface]:
    interfaces = []
    for name, mac, kind in (row for row in rows.all("interface") if len(row) == 3):
        addresses = [row[1:] for row in rows.all("address") if row[0] == name and len(row) == 3]
        interfaces.append(
            RoutedInterface(
                check_form("interface", INTERFACE, name),
                check_form("MAC address", MAC, mac),
                kind,
                any(how == "dhcp" for _, how in addresses),
                tuple(check_address(address) for address, how in addresses if how == "static"),
                tuple(
                    check_address(row[1])
                    for row in rows.all("gateway")
                    if row[0] == name and len(row) == 2
                ),
            )
        )
    return interfaces


def _number(value: str) -> int:
    return int(value) if value.isdigit() and len(value) < 16 else 0
