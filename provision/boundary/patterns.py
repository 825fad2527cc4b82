"""The form of each kind of value that a rig reports, as regular expressions for whole strings.

They admit what Linux and Debian admit, and none of the characters that mean something to YAML,
Jinja, a shell, a terminal, HTML or a path.
"""

from __future__ import annotations

import ipaddress
import re

from provision.errors import DeeprigError

#: useradd's names (NAME_REGEX of adduser, and what LDAP and Active Directory add to it).
USER = r"\A[A-Za-z_][A-Za-z0-9_.@-]{0,63}\$?\Z"
#: The kernel's: IFNAMSIZ is 16 with the final NUL (dev_valid_name); narrower than it in characters.
INTERFACE = r"\A[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}\Z"
#: Ethernet has six bytes, InfiniBand twenty, a tunnel four or none.
MAC = r"\A(?:|[0-9a-f]{2}(?::[0-9a-f]{2}){0,31})\Z"
#: /proc/sys/kernel/random/boot_id; empty where it can't be read.
BOOT_ID = r"\A(?:|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z"
#: RFC 1123, with the underscores that Linux lets pass; 64 is the kernel's limit.
HOST_NAME = r"\A[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?\Z"
#: An absolute path of printable characters, PATH_MAX bytes at most.
PATH = r"\A/[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,4095}\Z"
#: deb-control(5), with an architecture behind a colon.
PACKAGE = r"\A[A-Za-z0-9][A-Za-z0-9+.-]{1,127}(?::[a-z0-9-]{1,31})?\Z"
#: deb-version(7) and PEP 440.
VERSION = r"\A[A-Za-z0-9][A-Za-z0-9.+:~!_-]{0,127}\Z"
#: A device's address on the PCI bus (domain:bus:device.function).
PCI_ADDRESS = r"\A[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z"
#: A PCI vendor's or device's number, as sysfs has it.
PCI_ID = r"\A(?:|(?:0x)?[0-9a-f]{2,8})\Z"


def check_form(kind: str, pattern: str, value: str) -> str:
    """Return `value`, which a rig reported as a `kind`. Raises DeeprigError where it is not one."""
    if re.match(pattern, value):
        return value
    raise _form_error(kind, value)


def check_address(value: str) -> str:
    """Return an IP address, with or without a prefix length. Raises DeeprigError.

    >>> check_address("192.168.1.5/24"), check_address("fe80::1")
    ('192.168.1.5/24', 'fe80::1')
    """
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        raise _form_error("network address", value) from None
    return value


def _form_error(kind: str, value: str) -> DeeprigError:
    return DeeprigError(
        f"the rig reports {value[:100]!r} as a {kind}",
        advice="That is not a valid one. Look at the rig's own console; if it was in other hands, "
        "reinstall it.",
    )
