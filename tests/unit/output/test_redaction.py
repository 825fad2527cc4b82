"""Secrets are masked everywhere."""

from __future__ import annotations

import pytest

from provision.inventory import yaml_source
from provision.output.redaction import MASK, Redactor, secrets_of

SECRETS = {"ansible_password": "hunter2hunter2", "ansible_user": "user", "api_token": "t0k3n-abc"}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("the password is hunter2hunter2!", "hunter2"),
        ('RIG_PASSWD="Vq7mDk2x"', "Vq7mDk2x"),
        ("FARM_HASH=c41f9e07b6ad3508e21c", "c41f9e07"),
        ("RIG_PASSWD=1", "=1"),
        ('{"accesskey": "ABC123DEF"}', "ABC123DEF"),
        ("lolMiner --user 0x52908400098527886E0F7030069857D2E4169EE7.rig", "0x5290"),
        ("-u bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "bc1qar0"),
        ("-u 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "1BvBMSEY"),
        ("token: t0k3n-abc", "t0k3n"),
    ],
)
def test_secrets_in_text_are_masked(text: str, hidden: str) -> None:
    shown = Redactor(secrets_of(SECRETS)).text(text)
    assert hidden not in shown
    assert MASK in shown


def test_secrets_are_collected_at_any_depth_and_behind_templates() -> None:
    variables = yaml_source.parse_yaml(
        """
vault: hunter22
ansible_password: "{{ vault }}"
other_password: "{{ nowhere }}"
pool: {wallet: wallet123, port: 4444, logins: [{rig_passwd: 7777}]}
api_tokens: {first: tok-1111}
secrets_shown: true
ansible_ssh_private_key_file: ~/.ssh/id_ed25519
""",
        "vars.yml",
    )
    secrets = set(secrets_of(variables))
    assert secrets == {"hunter22", "wallet123", "7777", "tok-1111"}


def test_numbers_and_values_below_secret_names_are_masked() -> None:
    shown = Redactor(["123456"]).value(
        {"a": 123456, "pin_token": 7, "tokens": {"first": "x"}, "hunter: 123456": True, "n": 5}
    )
    assert shown == {
        "a": MASK,
        "pin_token": MASK,
        "tokens": {"first": MASK},
        f"hunter: {MASK}": True,
        "n": 5,
    }


def test_values_are_masked_at_any_depth() -> None:
    shown = Redactor().value({"a": [{"vnc_password": "x", "path": "/etc/passwd"}]})
    assert shown == {"a": [{"vnc_password": MASK, "path": "/etc/passwd"}]}


@pytest.mark.parametrize(
    "text",
    [
        "0000:0a:00.0 x1 of x16, 24576 MiB",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "linux-headers-6.18.44 is not in any configured repository",
        "user",
        "Successfully installed tokenizers==0.21 tokenizer: fast",
    ],
)
def test_other_text_is_not_masked(text: str) -> None:
    assert Redactor(secrets_of(SECRETS)).text(text) == text
