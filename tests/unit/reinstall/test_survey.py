"""What a rig answers to `fab reinstall` is read, and what can't be true is refused."""

from __future__ import annotations

import pytest

from provision.errors import DeeprigError
from provision.reinstall.survey import parse_survey
from tests.unit.reinstall import answers


def test_rig_with_an_old_system_is_read() -> None:
    survey = parse_survey(answers.write())
    assert (survey.system, survey.kernel) == ("Ubuntu 18.04.6 LTS", "5.10.0-hiveos")
    assert (survey.running, survey.default, survey.trial) == ("", "", False)
    assert survey.room == 20_000_000 << 10
    assert survey.platforms == ("i386-pc",)
    assert survey.layers == (("sda1", "part"), ("sda", "disk"))
    (interface,) = survey.interfaces
    assert (interface.name, interface.is_dhcp) == ("eth0", True)
    assert survey.keys == ("ssh-ed25519 AAAAC3operator",)


def test_system_in_its_trial_is_not_the_default() -> None:
    survey = parse_survey(
        answers.write(running="/deeprig-1\t900", tree="/deeprig-1\tabc\tDebian 13")
    )
    assert (survey.running, survey.trial, survey.is_new) == ("/deeprig-1", True, True)
    assert not parse_survey(answers.write(running="/deeprig-1\t", default="/deeprig-1")).is_new


def test_static_address_is_kept_with_its_gateway_and_name_servers() -> None:
    survey = parse_survey(answers.write(address="eth0\t192.168.1.40/24\tstatic"))
    (interface,) = survey.interfaces
    assert interface.addresses == ("192.168.1.40/24",)
    assert interface.gateways == ("192.168.1.1",)
    assert survey.nameservers == ("192.168.1.1",)


@pytest.mark.parametrize(
    "changed",
    [
        {"running": "/deeprig-1/../etc\t"},
        {"tree": "/home\tabc\tDebian"},
        {"root": "/dev/sda1\text4\t$(reboot)\trw"},
        {"interface": "eth0;reboot\t02:00:00:00:00:01\tethernet"},
        {"interface": "eth0\t02:00:zz\tethernet"},
        {"address": "eth0\t192.168.1.40/24; reboot\tstatic"},
        {"nameserver": "$(reboot)"},
        {"system": "Ubuntu"},
    ],
    ids=lambda changed: str(*changed),
)
def test_what_can_not_be_true_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(DeeprigError, match=r"the rig('s answer| reports)"):
        parse_survey(answers.write(**changed))
