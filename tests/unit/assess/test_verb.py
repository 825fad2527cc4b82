"""`fab assess`: checks of its flags before it connects."""

from __future__ import annotations

import pytest

from provision.assess import command
from provision.cli.flags import Flags
from provision.errors import DeeprigError


@pytest.mark.parametrize("page", ["/nonexistent/x.html", "/tmp"])
def test_unwritable_page_is_refused_before_the_assessment(page: str) -> None:
    with pytest.raises(DeeprigError, match=f"--html {page} can't be written"):
        command.assess(None, Flags(H="rig"), page, False)  # type: ignore[arg-type]
