"""What a path is, as Ansible's stat reports it.

Differs: without an explicit `get_checksum` only files up to 1 MiB get a checksum; `get_mime` and
`get_attributes` are accepted and give nothing.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import stat
from typing import Any

from provision.remote.files import look_up
from provision.remote.host import ModuleHost, Result
from provision.remote.options import Option
from provision.remote.paths import Place, failure, reach, via

OPTIONS = {
    "path": Option("path", required=True, aliases=("dest", "name")),
    "follow": Option("bool", default=False),
    "get_checksum": Option("bool"),
    "checksum_algorithm": Option(
        default="sha1",
        choices=("md5", "sha1", "sha224", "sha256", "sha384", "sha512"),
        aliases=("checksum", "checksum_algo"),
    ),
    "get_mime": Option("bool", default=True, aliases=("mime", "mime_type", "mime-type")),
    "get_attributes": Option("bool", default=True, aliases=("attr", "attributes")),
}

SMALL = 1 << 20  # bytes that are hashed without being asked for
TYPES = {
    "isblk": stat.S_ISBLK,
    "ischr": stat.S_ISCHR,
    "isdir": stat.S_ISDIR,
    "isfifo": stat.S_ISFIFO,
    "islnk": stat.S_ISLNK,
    "isreg": stat.S_ISREG,
    "issock": stat.S_ISSOCK,
}
PERMISSIONS = {
    "rusr": stat.S_IRUSR,
    "wusr": stat.S_IWUSR,
    "xusr": stat.S_IXUSR,
    "rgrp": stat.S_IRGRP,
    "wgrp": stat.S_IWGRP,
    "xgrp": stat.S_IXGRP,
    "roth": stat.S_IROTH,
    "woth": stat.S_IWOTH,
    "xoth": stat.S_IXOTH,
    "isuid": stat.S_ISUID,
    "isgid": stat.S_ISGID,
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return value: stat, a mapping that has at least `exists`."""
    path = os.path.expanduser(args["path"])
    try:
        with reach(path, args["follow"], reading=True) as place:
            if place.info is None:
                return {"changed": False, "stat": {"exists": False}}
            description = describe(path, place)
            wanted = args["get_checksum"]
            if wanted is None:
                wanted = place.info.st_size <= SMALL
            if wanted and description["isreg"] and description["readable"]:
                description["checksum"] = checksum_of_place(place, args["checksum_algorithm"])
            return {"changed": False, "stat": description}
    except (FileNotFoundError, NotADirectoryError):
        return {"changed": False, "stat": {"exists": False}}
    except OSError as error:
        raise failure("look at", path, error) from None


def describe(path: str, place: Place) -> dict[str, Any]:
    """Return everything in Ansible's `stat` that needs no reading of the file."""
    info, node = place.info, place.node
    assert info is not None
    assert node is not None
    result: dict[str, Any] = {
        "exists": True,
        "path": path,
        "mode": format(stat.S_IMODE(info.st_mode), "04o"),
        "uid": info.st_uid,
        "gid": info.st_gid,
        "size": info.st_size,
        "inode": info.st_ino,
        "dev": info.st_dev,
        "nlink": info.st_nlink,
        "atime": info.st_atime,
        "mtime": info.st_mtime,
        "ctime": info.st_ctime,
        "blocks": info.st_blocks,
        "block_size": info.st_blksize,
        "device_type": info.st_rdev,
        "readable": _has_access(place, path, os.R_OK),
        "writeable": _has_access(place, path, os.W_OK),
        "executable": _has_access(place, path, os.X_OK),
    }
    result.update({name: test(info.st_mode) for name, test in TYPES.items()})
    result.update({name: bool(info.st_mode & bit) for name, bit in PERMISSIONS.items()})
    result.update(owner_names(info))
    if result["islnk"]:
        result["lnk_source"] = os.path.realpath(path)
        result["lnk_target"] = os.readlink("", dir_fd=node)
    return result


def _has_access(place: Place, path: str, right: int) -> bool:
    """Return whether this process may use a file so; of a symlink, what it leads to."""
    if place.is_kind(stat.S_ISLNK):
        return os.access(path, right)
    assert place.node is not None
    return os.access(via(place.node), right)


def owner_names(info: os.stat_result) -> dict[str, str]:
    """pw_name and gr_name, each where the number has a name."""
    names = {}
    with contextlib.suppress(KeyError):
        names["pw_name"] = pwd.getpwuid(info.st_uid).pw_name
    with contextlib.suppress(KeyError):
        names["gr_name"] = grp.getgrgid(info.st_gid).gr_name
    return names


def attributes_of(path: str) -> dict[str, Any]:
    """Return the attributes that Ansible adds to the result for a path."""
    info = look_up(path, follow=False)
    return {} if info is None else attributes(info)


def attributes(info: os.stat_result) -> dict[str, Any]:
    """Return the same of what stat reports."""
    names = owner_names(info)
    return {
        "mode": format(stat.S_IMODE(info.st_mode), "04o"),
        "uid": info.st_uid,
        "gid": info.st_gid,
        "owner": names.get("pw_name", str(info.st_uid)),
        "group": names.get("gr_name", str(info.st_gid)),
        "size": info.st_size,
        "state": _kind_of(info),
    }


def kind(path: str) -> str:
    """absent, link, directory, hard (a file with more than one name) or file."""
    info = look_up(path, follow=False)
    return "absent" if info is None else _kind_of(info)


def _kind_of(info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        return "link"
    if stat.S_ISDIR(info.st_mode):
        return "directory"
    return "hard" if info.st_nlink > 1 else "file"


def checksum(path: str, algorithm: str = "sha1") -> str:
    """Return a file's digest in hexadecimal, read in pieces."""
    try:
        with reach(path, reading=True) as place:
            return checksum_of_place(place, algorithm)
    except OSError as error:
        raise failure("read", path, error) from None


def checksum_of_place(place: Place, algorithm: str) -> str:
    """Return the digest of the regular file at a place."""
    digest = hashlib.new(algorithm)
    with os.fdopen(place.open_file(reading=True), "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
