"""Settings of systemd-networkd that keep a rig's network as it is: by MAC address."""

from __future__ import annotations

from provision.reinstall.survey import ReinstallSurvey, RoutedInterface


def write_network(survey: ReinstallSurvey) -> dict[str, str]:
    """Return the contents of files by name, one for each interface with a default route."""
    return {
        f"10-deeprig-{number}.network": _write_interface(interface, survey.nameservers)
        for number, interface in enumerate(survey.interfaces)
    }


def _write_interface(interface: RoutedInterface, nameservers: tuple[str, ...]) -> str:
    lines = ["[Match]", f"MACAddress={interface.mac}", "", "[Network]"]
    if interface.is_dhcp:
        # As dhclient and NetworkManager: another identifier would get another address.
        lines += ["DHCP=yes", "", "[DHCPv4]", "ClientIdentifier=mac"]
    else:
        lines += [f"Address={address}" for address in interface.addresses]
        lines += [f"Gateway={gateway}" for gateway in interface.gateways]
        lines += [f"DNS={server}" for server in nameservers]
        lines += ["IPv6AcceptRA=yes"]
    return "\n".join([*lines, ""])
