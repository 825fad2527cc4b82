"""The driver step on apt as people have it, and what it leaves when it can't succeed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from provision.inventory import hosts as inventories
from tests.lab.operator import STEPS, FabResult, assert_apt_works, fab

pytestmark = pytest.mark.extended  # each case installs a driver

NAME = "test76"
DRIVER = STEPS / "driver.yml"
SOURCES = "/etc/apt/sources.list.d"
OURS = f"{SOURCES}/nvidia.sources"
STATE = (
    "cd /etc/apt; cat sources.list.d/* preferences.d/* 2>/dev/null; apt-mark showhold;"
    " dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' '*nvidia*' 'libcuda*'"
    " | grep -v not-inst;"
    " ls /var/lib/deeprig"
)


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(NAME, flavour="clean")


@pytest.fixture(scope="module", autouse=True)
def base(target: Rig, inventory: Path) -> None:
    result = fab(inventory, NAME, "provision", "--tags", "demine,base", seconds=400)
    assert result.status == 0, result.text


@pytest.fixture(scope="module")
def url(inventory: Path) -> str:
    host = inventories.read_inventory(inventory).host(NAME)
    return str(host.variables["nvidia_repository_url"])


def play(inventory: Path, *words: str) -> FabResult:
    return fab(inventory, NAME, "play", DRIVER, *words, seconds=400)


def versions(rig: Rig, name: str) -> str:
    return rig.run(f"dpkg-query -W -f '${{Version}}' {name}", check=False).stdout


#: Entries of the vendor's repository that guides and cuda-keyring leave: {url} ends in a slash.
ENTRIES = {
    "cuda-keyring": (
        "cuda-debian12-x86_64.list",
        "deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.gpg] {url} /\n",
    ),
    "without the last slash": ("cuda.list", "deb [trusted=yes arch=amd64] {bare} /\n"),
    "a stanza": (
        "cuda.sources",
        "Types: deb\nURIs: {url}\nSuites: /\nEnabled: yes\n"
        "Signed-By: /usr/share/keyrings/cuda-archive-keyring.gpg\n",
    ),
    "several stanzas": (
        "all.sources",
        "# local\nTypes: deb\nURIs: file:/srv/local\nSuites: ./\nTrusted: yes\nEnabled: no\n\n"
        "Types: deb\nURIs:\n {url}\nSuites: /\nTrusted: yes\n",
    ),
    "beside another line": (
        "mixed.list",
        "# cuda\ndeb [trusted=yes] {url} /\ndeb-src [trusted=yes] {url} /\n",
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_one_entry_of_the_vendors_repository_is_left(
    target: Rig, inventory: Path, url: str, name: str
) -> None:
    file, text = ENTRIES[name]
    entry = target.root / SOURCES[1:] / file
    target.run(
        f"rm -f {OURS}; curl -s {url}key.asc |"
        " gpg --dearmor --yes -o /usr/share/keyrings/cuda-archive-keyring.gpg"
    )
    entry.write_text(text.format(url=url, bare=url.rstrip("/")))
    was = entry.read_text()
    # As far as the step that proves: the branch is not offered.
    refused = play(inventory, "-e", "nvidia_driver_branch=571")
    assert refused.status == 2
    refused.assert_shows("driver branch 571", "570, 580")
    assert entry.read_text() == was
    assert not (target.root / OURS[1:]).exists()
    assert_apt_works(target)
    result = play(inventory)
    assert result.status == 0, result.text
    assert_apt_works(target)
    entries = target.run("apt-get indextargets --format '$(SOURCESENTRY)'").stdout
    assert "nvidia.sources" in entries
    assert file not in entries
    play(inventory).assert_shows("changed=0")
    entry.unlink()


def test_another_branch_is_taken_as_it_is_named(
    target: Rig, inventory: Path, fault: Callable[..., None]
) -> None:
    """From 590 on the package's name has no branch; two newer ones are offered as well."""
    fault("repo-new")
    result = play(inventory, "-e", "nvidia_driver_branch=590")
    assert result.status == 0, result.text
    assert versions(target, "nvidia-open") == "590.48.01-1"
    assert versions(target, "libcuda1") == "590.48.01-1"
    # The branch that is set stays, though 595 is newer, and the setting is auto again.
    play(inventory).assert_shows("changed=0")
    policy = target.run("apt-cache policy nvidia-driver").stdout
    assert "Candidate: 590.48.01-1" in policy
    assert "nvidia-settings" not in target.run("apt-mark showhold").stdout


def test_nothing_but_the_driver_is_held(target: Rig, inventory: Path) -> None:
    target.run("apt-get -y install nvidia-container-toolkit")
    play(inventory).assert_shows("changed=0")
    held = target.run("apt-mark showhold").stdout.split()
    assert {"nvidia-driver", "libcuda1", "libnvidia-ml1", "firmware-nvidia-gsp"} <= {*held}
    assert not [name for name in held if "container" in name or "cuda-toolkit" in name]


def test_branch_that_nobody_offers_changes_nothing(target: Rig, inventory: Path) -> None:
    before = target.run(STATE).stdout
    result = play(inventory, "-e", "nvidia_driver_branch=600")
    assert result.status == 2
    result.assert_shows("no repository of the rig has driver branch 600", "nvidia_driver_branch")
    assert target.run(STATE).stdout == before
    assert_apt_works(target)


def test_packages_that_cannot_be_fetched_change_nothing(
    target: Rig, inventory: Path, fault: Callable[..., None]
) -> None:
    """Lists of yesterday name a file that the repository has no more."""
    before = target.run(STATE).stdout
    target.run("apt-get clean")
    fault("repo-new")
    target.run("apt-get update")
    fault("repo-down")
    result = play(inventory, "-e", "nvidia_driver_branch=595")
    assert result.status == 2
    assert target.run(STATE).stdout == before


def test_module_that_does_not_build_leaves_the_driver_that_was_here(
    target: Rig, inventory: Path, fault: Callable[..., None]
) -> None:
    before = target.run(STATE).stdout
    fault("repo-new")
    fault("dkms-fails", "595.71.05")
    result = play(inventory, "-e", "nvidia_driver_branch=595")
    assert result.status == 2
    result.assert_shows("The packages are not installed", "could not be built")
    assert target.run(STATE).stdout == before
    assert_apt_works(target)
    assert versions(target, "libcuda1") == "590.48.01-1"


def test_driver_without_a_module_is_not_rebooted_into(
    target: Rig, inventory: Path, fault: Callable[..., None]
) -> None:
    """DKMS does not fail where a kernel has no headers; the rig would boot without a driver."""
    fault("repo-new")
    release = target.run("uname -r").stdout.strip()
    target.run(f"mv /lib/modules/{release}/build /root/build")
    boots = target.state()["boots"]
    result = fab(
        inventory, NAME, "provision", "--tags", "driver,reboot", "-e", "nvidia_driver_branch=595"
    )
    target.run(f"mv /root/build /lib/modules/{release}/build")
    assert result.status == 2
    result.assert_shows(
        f"The kernel {release}, which boots next, has no module", "so the rig is not rebooted"
    )
    assert target.state()["boots"] == boots
    # With the headers back, the same command builds it, also after DKMS' tree was cleared.
    target.run("rm -r /var/lib/dkms/nvidia")
    again = play(inventory, "-e", "nvidia_driver_branch=595")
    assert again.status == 0, again.text
    play(inventory).assert_shows("changed=0")
