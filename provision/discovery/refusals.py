"""Hosts that a command must not take over, by a first look at them."""

from __future__ import annotations

from provision.discovery.survey import Survey
from provision.errors import DeeprigError


def refuse_rental(look: Survey) -> None:
    """Refuse a host of a rental platform. Raises DeeprigError."""
    for platform in look.facts["rental"]:
        raise DeeprigError(
            f"this is a host of {platform['name']} ({', '.join(platform['evidence'])}), which "
            "manages its logins",
            advice="Nothing was changed. Take it off the platform, wait until its rentals have "
            "ended, and remove the platform's software first.",
        )


def refuse_workstation(look: Survey, is_accepted: bool) -> None:
    """Refuse what looks like a personal computer, unless that is accepted. Raises DeeprigError."""
    signs = look.facts["workstation"]
    if signs and not is_accepted:
        raise DeeprigError(
            f"this looks like a personal computer, not a mining rig: {', '.join(signs)}",
            advice="Nothing was changed. If it is the rig, add --accept-workstation.",
        )
