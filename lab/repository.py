import shutil, subprocess
from pathlib import Path

HERE = Path(__file__).parent


def build(packages, log):
    packages.mkdir(parents=True)
    (packages / "fingerprint").write_text("0" * 40)
    subprocess.run(
        ["dpkg-deb", "-b", "--root-owner-group", HERE / "hive/package", packages / "hive.deb"],
        check=True,
    )
    s = packages / "s/DEBIAN"
    s.mkdir(parents=True)
    (s / "control").write_text(
        "Package: nvidia-settings\nVersion: 525.85.05-1\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n"
    )
    subprocess.run(["dpkg-deb", "-b", packages / "s", packages / "nvidia-settings.deb"], check=True)


def provide(packages, root, work):
    for d in packages.glob("*.deb"):
        shutil.copy(d, work)
