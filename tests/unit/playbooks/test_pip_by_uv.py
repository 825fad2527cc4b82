"""What installs Python packages on a rig: the real uv and the real pip, on a folder of wheels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.playbooks.pip_environment import Environment, write_index, write_wheel

pytestmark = pytest.mark.slow
HEADER = "Successfully installed gear-1.0"


SETTINGS = [
    pytest.param("[global]\nno-index = true\nfind-links = {wheels}\n", {}, id="folder"),
    pytest.param(
        "[global]\nno-index = true\nfind-links =\n  {tmp}\n  {wheels}\n", {}, id="folders"
    ),
    pytest.param("[global]\nindex-url = {index}\n", {}, id="index"),
    pytest.param("[global]\nindex-url = {empty}\nextra-index-url = {index}\n", {}, id="further"),
    pytest.param(
        "[global]\nindex-url = {empty}\n[install]\nindex-url = {index}\n", {}, id="of-install"
    ),
    pytest.param("", {"PIP_INDEX_URL": "{index}"}, id="variable"),
    pytest.param("[global]\nindex-url = {empty}\n", {"PIP_INDEX_URL": "{index}"}, id="both"),
    pytest.param("[global]\nno_index = yes\nfind_links = {wheels}\n", {}, id="underscores"),
    pytest.param(
        "[global]\nindex-url = {index}\nconstraint = {constraints}\n", {}, id="constraints"
    ),
    pytest.param("[global]\nindex-url = {index}\n", {"UV_DEFAULT_INDEX": "{empty}"}, id="not-uvs"),
]


@pytest.mark.parametrize(("settings", "variables"), SETTINGS)
@pytest.mark.parametrize("hashes", [True, False], ids=["lock", "name"])
def test_uv_finds_packages_where_pip_does(
    environment: Environment, settings: str, variables: dict[str, str], hashes: bool
) -> None:
    folder = environment.folder
    lock = write_wheel(environment.wheels)
    places = {"tmp": folder, "wheels": environment.wheels, "constraints": folder / "constraints"}
    write_wheel(folder / "others", "other")
    urls = {
        "index": write_index(folder / "index", environment.wheels),
        "empty": write_index(folder / "empty", folder / "others"),
    }
    (folder / "constraints").write_text("torch<=2.14.1\n")
    environment.set_pip(settings.format(**places, **urls))
    (folder / "lock").write_text(lock)
    what = ("--require-hashes", "-r", folder / "lock") if hashes else ("gear==1.0",)
    values = {key: value.format(**urls) for key, value in variables.items()}
    done = environment.run("install", "--no-compile", *what, **values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "instead of uv" not in done.stdout
    assert done.stdout.splitlines()[-1] == HEADER
    assert environment.has("gear", "1.0")
    again = environment.run("install", "--no-compile", *what, **values)
    assert again.returncode == 0
    assert "Successfully installed" not in again.stdout


def test_best_version_of_all_indexes_is_installed(environment: Environment) -> None:
    write_wheel(environment.folder / "old", version="1.0")
    write_wheel(environment.folder / "new", version="1.5")
    first, second = (
        write_index(environment.folder / f"index-{name}", environment.folder / name)
        for name in ("old", "new")
    )
    environment.set_pip(f"[global]\nindex-url = {second}\nextra-index-url = {first}\n")
    assert environment.run("install", "gear").returncode == 0
    assert environment.has("gear", "1.5")


def test_index_of_the_command_replaces_that_of_the_settings(environment: Environment) -> None:
    write_wheel(environment.wheels)
    url = write_index(environment.folder / "index", environment.wheels)
    environment.set_pip("[global]\nindex-url = http://127.0.0.1:9/simple\n")
    done = environment.run("install", "--no-compile", "--index-url", url, "gear==1.0")
    assert (done.returncode, "instead of uv" in done.stdout) == (0, False), done.stdout


def test_other_content_is_refused_by_both(environment: Environment) -> None:
    lock = write_wheel(environment.wheels)
    (environment.folder / "lock").write_text(lock.replace(lock[-9:], "00000000\n"))
    environment.set_pip(f"[global]\nno-index = true\nfind-links = {environment.wheels}\n")
    done = environment.run("install", "--require-hashes", "-r", environment.folder / "lock")
    assert done.returncode != 0
    assert "Hash mismatch" in done.stdout  # uv's words
    assert "DO NOT MATCH THE HASHES" in done.stderr  # pip's
    assert not environment.has("gear", "1.0")


def test_package_without_hash_is_refused_by_both(environment: Environment) -> None:
    write_wheel(environment.wheels)
    (environment.folder / "lock").write_text("gear==1.0\n")
    environment.set_pip(f"[global]\nno-index = true\nfind-links = {environment.wheels}\n")
    done = environment.run("install", "--require-hashes", "-r", environment.folder / "lock")
    assert done.returncode != 0
    assert not environment.has("gear", "1.0")


def test_what_is_compiled(environment: Environment) -> None:
    write_wheel(environment.wheels)
    environment.set_pip(f"[global]\nno-index = true\nfind-links = {environment.wheels}\n")
    assert environment.run("install", "--no-compile", "gear").returncode == 0
    assert not list((environment.folder / "venv").rglob("gear*.pyc"))
    assert environment.run("install", "--force-reinstall", "gear").returncode == 0
    assert list((environment.folder / "venv").rglob("gear*.pyc"))


def test_nothing_is_kept_twice(environment: Environment) -> None:
    """The cache has no files of what is installed, which would stay when that is removed."""
    write_wheel(environment.wheels)
    environment.set_pip(f"[global]\nno-index = true\nfind-links = {environment.wheels}\n")
    assert environment.run("install", "gear").returncode == 0
    assert (environment.folder / "cache/uv").is_dir()
    assert not list((environment.folder / "cache").rglob("gear*"))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "does not run: No such file or directory"),
        ("not executable", "does not run: Permission denied"),
        ("another processor's", "does not run: Exec format error"),
        ("fails", "uv failed (exit status 3)"),
        ("killed", "uv failed (exit status -9)"),
    ],
)
def test_pip_installs_where_uv_does_not_run(
    make_environment: Callable[..., Environment], tmp_path: Path, kind: str, reason: str
) -> None:
    uv = tmp_path / "another-uv"
    if kind != "missing":
        program = {"fails": "exit 3", "killed": "kill -9 $$"}.get(kind, "")
        uv.write_bytes(
            b"\x7fELF\x00" if kind.startswith("another") else f"#!/bin/sh\n{program}\n".encode()
        )
        uv.chmod(0o644 if kind == "not executable" else 0o755)
    environment = make_environment(uv)
    lock = write_wheel(environment.wheels)
    (tmp_path / "lock").write_text(lock)
    environment.set_pip(f"[global]\nno-index = true\nfind-links = {environment.wheels}\n")
    done = environment.run("install", "--require-hashes", "-r", tmp_path / "lock")
    assert done.returncode == 0, done.stderr
    assert (
        f"pip instead of uv: {'' if 'uv failed' in reason else uv.parent / 'uv/bin/uv'}"
        in done.stdout
    )
    assert reason in done.stdout
    assert HEADER in done.stdout
    assert environment.has("gear", "1.0")


@pytest.mark.parametrize(
    ("settings", "words", "option"),
    [
        ("", ["--ignore-installed"], "--ignore-installed"),
        ("ignore-installed = true\n", [], "ignore-installed"),
        ("", ["--report=/dev/null"], "--report=/dev/null"),
        ("report = /dev/null\n", [], "report"),
    ],
)
def test_pip_installs_what_uv_has_no_option_for(
    environment: Environment, settings: str, words: list[str], option: str
) -> None:
    write_wheel(environment.wheels)
    links = f"[global]\nno-index = true\nfind-links = {environment.wheels}\n"
    environment.set_pip(links + settings)
    done = environment.run("install", *words, "gear")
    assert done.returncode == 0, done.stderr
    reason = next(line for line in done.stdout.splitlines() if "instead of uv" in line)
    assert reason.endswith(option)
    assert environment.has("gear", "1.0")


def test_other_commands_are_pips(environment: Environment) -> None:
    write_wheel(environment.wheels)
    environment.set_pip(f"[global]\nno-index = true\nfind-links = {environment.wheels}\n")
    assert environment.run("install", "gear").returncode == 0
    done = environment.run("list", "--format=json", "--disable-pip-version-check")
    assert json.loads(done.stdout) == [{"name": "gear", "version": "1.0"}]


@pytest.mark.parametrize(
    ("settings", "variables", "expected"),
    [
        ("proxy = http://proxy:3128\n", {}, {"HTTPS_PROXY": "http://proxy:3128"}),
        ("timeout = 180\n", {}, {"UV_HTTP_TIMEOUT": "180"}),
        ("", {"PIP_DEFAULT_TIMEOUT": "90"}, {"UV_HTTP_TIMEOUT": "90"}),
        ("retries = 9\n", {}, {"UV_HTTP_RETRIES": "9"}),
        ("cert = /srv/ca.pem\n", {"SSL_CERT_FILE": "/x"}, {"SSL_CERT_FILE": "/srv/ca.pem"}),
        ("cert =\n", {"REQUESTS_CA_BUNDLE": "/srv/ca.pem"}, {"SSL_CERT_FILE": "/srv/ca.pem"}),
        ("client-cert = /srv/me.pem\n", {}, {"SSL_CLIENT_CERT": "/srv/me.pem"}),
        ("trusted-host = a:80\n  b\n", {}, {"UV_INSECURE_HOST": "a:80 b"}),
        ("extra-index-url = http://a/ http://b/\n", {}, {"UV_INDEX": "http://a/ http://b/"}),
    ],
)
def test_settings_reach_uv(
    recorded: Environment, settings: str, variables: dict[str, str], expected: dict[str, str]
) -> None:
    recorded.set_pip(f"[global]\n{settings}")
    done = recorded.run("install", "gear", **variables)
    assert done.returncode == 0, done.stdout
    _, given = recorded.record()
    assert {name: given.get(name) for name in expected} == expected


def test_passwords_are_not_among_the_words(recorded: Environment) -> None:
    """Every user of a rig can read the words of a command."""
    recorded.set_pip("[global]\nextra-index-url = https://me:secret@example.org/simple\n")
    url = "https://you:hidden@example.org/simple"
    assert recorded.run("install", "--index-url", url, "gear").returncode == 0
    words, given = recorded.record()
    assert words[-1] == "gear"
    assert not [word for word in words if "secret" in word or "hidden" in word]
    assert given["UV_DEFAULT_INDEX"] == url
    assert "secret" in given["UV_INDEX"]


def test_lists_of_command_and_settings_are_joined(recorded: Environment) -> None:
    recorded.set_pip("[global]\nextra-index-url = http://a/\n")
    words = ("--extra-index-url", "http://b/", "--upgrade", "--pre", "--no-deps")
    assert recorded.run("install", *words, "gear").returncode == 0
    given_words, given = recorded.record()
    assert given["UV_INDEX"] == "http://a/ http://b/"
    assert {"--upgrade", "--prerelease=allow", "--no-deps"} <= set(given_words)
