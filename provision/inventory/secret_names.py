"""Names of variables and settings whose values are secrets."""

from __future__ import annotations

import re

# Names of settings whose value is a secret, in variables and in a rig's files. `1` of a
# default login is too short to mask by value, so it is masked where a name gives it away.
SECRET_NAMES = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|passwd|secret|token(?!i[sz])|api_?key|accesskey|farm_hash|wallet|"
    r"private_key|psk|(?:rig|farm|worker)_(?:id|name))[\w.-]*"
)
SECRET_NAME = re.compile(SECRET_NAMES, re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Return whether a variable of this name holds a secret, and not the path of one."""
    return bool(SECRET_NAME.fullmatch(name)) and not name.endswith(("_file", "_path"))
