"""What a rig takes over from its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.build import host

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


@pytest.mark.parametrize(
    ("rows", "valid"),
    [
        (["Date: Tue, 14 Nov 2023 22:00:00 UTC"], True),
        (["Date: Tue, 14 Nov 2023 22:30:00 UTC"], False),
        (
            [
                "Date: Mon, 13 Nov 2023 22:00:00 UTC",
                "Valid-Until: Mon, 20 Nov 2023 22:00:00 UTC",
            ],
            True,
        ),
        (
            [
                "Date: Wed, 01 Nov 2023 22:00:00 UTC",
                "Valid-Until: Wed, 08 Nov 2023 22:00:00 UTC",
            ],
            False,
        ),
        ([], False),
    ],
)
def test_dates_of_the_machines_release_files(tmp_path: Path, rows: list[str], valid: bool) -> None:
    (tmp_path / "mirror_dists_stable_InRelease").write_text("\n".join(["Origin: X", *rows, ""]))
    assert host.are_dates_valid(tmp_path, NOW) is valid


@pytest.mark.parametrize("valid", [True, False])
def test_rig_checks_dates_if_they_are_valid(valid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    options = 'Acquire::Retries "3";\nAcquire::Check-Date "false";\n'
    monkeypatch.setattr(host, "read_apt_options", lambda: options)
    monkeypatch.setattr(host, "are_dates_valid", lambda lists, now: valid)
    assert host.read_rig_apt_options() == ('Acquire::Retries "3";\n' if valid else options)
