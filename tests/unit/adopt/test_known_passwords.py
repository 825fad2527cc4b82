"""Known default passwords are replaced."""

from __future__ import annotations

import pytest

from provision.discovery.known_passwords import explain_weakness, generate_password


@pytest.mark.parametrize(
    ("user", "password", "system", "why"),
    [
        ("user", "1", "hiveos", "default password"),
        ("minerstat", "minerstat", "msos", "user's name"),
        ("miner", "hunter2", None, "fewer than 8"),
        ("user", "correct horse", "hiveos", ""),
    ],
)
def test_weak_password_is_explained(user: str, password: str, system: str | None, why: str) -> None:
    reason = explain_weakness(user, password, system)
    assert why in reason
    assert bool(reason) == bool(why)


def test_new_passwords_are_long_and_never_the_same() -> None:
    made = {generate_password() for _ in range(20)}
    assert len(made) == 20
    assert all(explain_weakness("user", password, "hiveos") == "" for password in made)
    assert all(
        password.isascii() and ":" not in password and password.strip() == password
        for password in made
    )
