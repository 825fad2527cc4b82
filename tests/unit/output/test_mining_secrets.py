"""What miners keep secret is masked by its place: their command lines, crontabs and settings."""

from __future__ import annotations

import json

import pytest

from provision.output.redaction import Redactor

LOGIN, POOL_PASSWORD = "farmer-joe.rig7", "Zx9-pool-pass"


@pytest.mark.parametrize(
    "text",
    [
        f"/opt/t-rex -a kawpow -o stratum+tcp://pool.example:1 -u {LOGIN} -p {POOL_PASSWORD}",
        f"lolMiner --algo ETHASH --user {LOGIN} --pass={POOL_PASSWORD}",
        f"t-rex-0.26.8 -w '{LOGIN}' -p \"{POOL_PASSWORD}\"",
        f"- ExecStart=/opt/x/worker -o stratum+ssl://{LOGIN}:{POOL_PASSWORD}@pool.example:1",
        f"worker7 -o stratum+tcp://pool.example:1 -u {LOGIN} -p {POOL_PASSWORD}",
        f"@reboot cd /opt && ./xmrig -o x:1 -u {LOGIN} -p {POOL_PASSWORD} >/dev/null",
        f"WORKER_NAME={LOGIN} RIG_PASSWD={POOL_PASSWORD} FARM_ID=7716254",
        json.dumps({"cmd": f"xmrig -u {LOGIN} -p {POOL_PASSWORD}"}),
    ],
)
def test_arguments_of_miners_are_masked_wherever_they_are_printed(text: str) -> None:
    shown = Redactor().text(text)
    assert LOGIN not in shown
    assert POOL_PASSWORD not in shown
    assert "7716254" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "t-rex  unit: /etc/systemd/system/t-rex.service",
        "process t-rex (pid 6)",
        "t-rex is still here: fab provision -H rig --tags demine --stop t-rex",
        "docker run --name web nginx -p 80:80",
        "https://example.net/x --check",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    ("path", "line"),
    [
        # The program has no miner's name, but the line is in a crontab.
        ("/var/spool/cron/crontabs/me", f"@reboot /opt/w7 -o x:1 -u {LOGIN} -p {POOL_PASSWORD}"),
        ("/etc/systemd/system/a.service", f"ExecStart=/opt/w7 --user {LOGIN} -p {POOL_PASSWORD}"),
        ("/home/me/.profile", f"/opt/w7 -u {LOGIN} -p {POOL_PASSWORD} &"),
        ("/hive-config/wallet.conf", f'CUSTOM_TEMPLATE="{LOGIN}"\nCUSTOM_PASS={POOL_PASSWORD}'),
        ("/media/storage/config.js", f'  "login": "{LOGIN}",\n  "key": "{POOL_PASSWORD}"'),
    ],
)
def test_differences_are_masked_by_the_place_of_the_file(path: str, line: str) -> None:
    part = {"before_header": path, "after_header": path, "before": line, "after": f"# {line}"}
    shown = json.dumps(Redactor().value({"diff": [part]}))
    assert LOGIN not in shown
    assert POOL_PASSWORD not in shown
    assert path in shown


def test_differences_of_other_files_are_shown() -> None:
    text = 'GRUB_CMDLINE_LINUX="pci=noaer"\n'
    part = {"before_header": "/etc/default/grub", "before": text, "after": ""}
    assert Redactor().value(part)["before"] == text
