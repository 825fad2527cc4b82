"""Packages that are fetched before their steps: with the real apt, in a scratch folder."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[3] / "playbooks/files/fetch_ahead.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_ahead", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_ahead"] = module
    spec.loader.exec_module(module)
    return module


DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"'http://a/./x_1_amd64.deb' x_1_amd64.deb 12 SHA256:{DIGEST}", "x_1_amd64.deb"),
        (f"'http://a/x_1%253a2.deb' x_1%3a2_amd64.deb 12 SHA256:{DIGEST}", "x_1%3a2_amd64.deb"),
        (f"'http://a/x' ../../etc/x 12 SHA256:{DIGEST}", None),
        (f"'http://a/x' /etc/x 12 SHA256:{DIGEST}", None),
        ("'http://a/x' x 12 MD5Sum:0123", None),
        (f"'http://a/x' x 12 SHA256:{DIGEST}00", None),
        ("Reading package lists...", None),
        ("The following NEW packages will be installed:", None),
    ],
)
def test_uris_of_apt_are_read(program: ModuleType, line: str, name: str | None) -> None:
    read = [file.name for file in program.read_uris(f"Building...\n{line}\n")]
    assert read == ([] if name is None else [name])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"{DIGEST} 12 https://a/b/gear-1.0-py3-none-any.whl", "gear-1.0-py3-none-any.whl"),
        (f"{DIGEST} 0 http://a/torch-2.13.0%2Bcpu-x.whl", "torch-2.13.0+cpu-x.whl"),
        (f"{DIGEST} 12 https://a/b/gear-1.0.tar.gz", None),
        (f"{DIGEST} 12 https://a/..%2f..%2fgear.whl", "gear.whl"),
        (f"{DIGEST} 12 file:///srv/gear.whl", None),
        ("HTTP_PROXY=http://a", None),
    ],
)
def test_wheels_of_the_installer_are_read(program: ModuleType, line: str, name: str | None) -> None:
    read = [file.name for file in program.read_files(f"{line}\n")]
    assert read == ([] if name is None else [name])


def make_source(program: ModuleType, folder: Path, **changes: Any) -> Any:
    plan = {
        "folder": str(folder / "scratch"),
        "repository": "http://127.0.0.1:9/cuda/",
        "keyring": str(folder / "key.asc"),
        "left_out": [],
        "pins": "Package: x\nPin: version 1\nPin-Priority: 1001\n",
        "packages": [["x"]],
        "cache": "",
        **changes,
    }
    return program.PackageSource(plan)


def test_vendor_that_does_not_answer_is_an_error_with_its_reason(
    program: ModuleType, tmp_path: Path
) -> None:
    source = make_source(program, tmp_path)
    with pytest.raises(program.NotFetched, match=r"127\.0\.0\.1"):
        source.prepare()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A flat repository that is not signed by the key."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "Packages").write_text("")
    digest = hashlib.sha256(b"").hexdigest()
    (folder / "Release").write_text(f"Origin: x\nSHA256:\n {digest} 0 Packages\n")
    return folder


def test_unsigned_list_is_refused(program: ModuleType, tmp_path: Path, repository: Path) -> None:
    source = make_source(program, tmp_path, repository=repository.as_uri() + "/")
    with pytest.raises(program.NotFetched, match="not signed"):
        source.prepare()


def test_settings_of_apt_are_left_alone(program: ModuleType, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in Path("/etc/apt").rglob("*") if path.is_file()}
    lists = sorted(path.name for path in Path("/var/lib/apt/lists").iterdir())
    source = make_source(program, tmp_path, left_out=["/etc/apt/sources.list.d/debian.sources"])
    with pytest.raises(program.NotFetched):
        source.prepare()
    after = {path: path.read_bytes() for path in Path("/etc/apt").rglob("*") if path.is_file()}
    assert after == before
    assert sorted(path.name for path in Path("/var/lib/apt/lists").iterdir()) == lists
    parts = {path.name for path in (tmp_path / "scratch/parts").iterdir()}
    assert "deeprig-vendor.sources" in parts
    assert "debian.sources" not in parts
    assert "Pin-Priority" in (tmp_path / "scratch/preferences/00deeprig-driver").read_text()


def test_second_name_replaces_a_file_of_unknown_origin(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checked").write_text("right")
    (tmp_path / "name").write_text("wrong")
    program.link(tmp_path / "checked", tmp_path / "name")
    assert (tmp_path / "name").read_text() == "right"

    def refuse(*words: str) -> None:
        raise OSError(18, "another file system")

    monkeypatch.setattr(program.os, "link", refuse)
    (tmp_path / "other").write_text("wrong")
    program.link(tmp_path / "checked", tmp_path / "other")
    assert (tmp_path / "other").read_text() == "right"
    assert {path.name for path in tmp_path.iterdir()} == {"checked", "name", "other"}


def test_index_names_its_wheels_with_their_hashes(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "INDEX", tmp_path)
    name = "Nvidia_Cuda.Runtime-13.0+x-py3-none-any.whl"
    program.write_index([program.Wanted("http://a/x", name, 1, DIGEST)])
    page = (tmp_path / "simple/nvidia-cuda-runtime/index.html").read_text()
    assert f"{name.replace('+', '%2B')}#sha256={DIGEST}" in page


def test_archive_folder_is_that_of_apt(program: ModuleType) -> None:
    assert program.find_archives() == Path("/var/cache/apt/archives")


APT_GET = """#!/bin/sh
for word; do
  case $word in
  --print-uris) cat {folder}/uris; exit ;;
  --download-only) exit 0 ;;
  esac
done
"""


def test_what_came_before_a_reboot_gets_its_name_after_it(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are complete in the scratch folder are none that apt lists again."""
    source = make_source(program, tmp_path)
    for folder in (source.archives, tmp_path / "apt"):
        folder.mkdir(parents=True)
    (source.archives / "early_1_amd64.deb").write_text("early")
    (tmp_path / "apt/late_1_amd64.deb").write_text("late")
    (tmp_path / "apt/wrong_1_amd64.deb").write_text("wrong")
    rows = [("late", "late"), ("wrong", "right")]
    (tmp_path / "uris").write_text(
        "".join(
            f"'http://127.0.0.1:9/{name}' {name}_1_amd64.deb {len(text)} "
            f"SHA256:{hashlib.sha256(text.encode()).hexdigest()}\n"
            for name, text in rows
        )
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apt-get").write_text(APT_GET.format(folder=tmp_path))
    (tmp_path / "bin/apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(program, "find_archives", lambda: tmp_path / "apt")
    source.fetch(["x"])
    assert (tmp_path / "apt/early_1_amd64.deb").read_text() == "early"
    adopted = {path.name for path in source.archives.iterdir()}
    assert adopted == {"early_1_amd64.deb", "late_1_amd64.deb"}
