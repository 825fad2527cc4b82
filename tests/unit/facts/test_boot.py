"""Which kernel boots next, from GRUB's files, as grub-mkconfig writes them and GRUB reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.remote.facts.boot import boot
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import create_files

UUID = "1b6f7a40-9d5e-4c11-8a7e-2f0c3d4e5f60"
MINING, OURS = "6.9.12-sm6", "5.15.0-125-generic"


def entry(title: str, identifier: str, release: str, arguments: str = "quiet") -> str:
    return f"""menuentry '{title}' --class ubuntu --class os $menuentry_id_option '{identifier}' {{
  recordfail
  if [ x$feature_platform_search_hint = xy ]; then
    search --no-floppy --fs-uuid --set=root {UUID}
  else
    search --no-floppy --fs-uuid --set=root {UUID}
  fi
  linux\t/boot/vmlinuz-{release} root=UUID={UUID} ro {arguments}
  initrd\t/boot/initrd.img-{release}
}}
"""


def menu(default: str, *releases: str, after: str = "") -> str:
    """Return a grub.cfg: the first kernel at the top, all of them in the submenu."""
    inner = "".join(
        entry(f"Ubuntu, with Linux {release}", f"gnulinux-{release}-advanced-{UUID}", release)
        + entry(
            f"Ubuntu, with Linux {release} (recovery mode)",
            f"gnulinux-{release}-recovery-{UUID}",
            release,
            "recovery nomodeset",
        )
        for release in releases
    )
    return f"""### BEGIN /etc/grub.d/00_header ###
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="{default}"
fi
function savedefault {{
  if [ -z "${{boot_once}}" ]; then
    saved_entry="${{chosen}}"
    save_env saved_entry
  fi
}}
### BEGIN /etc/grub.d/10_linux ###
{entry("Ubuntu", f"gnulinux-simple-{UUID}", releases[0])}
submenu 'Advanced options for Ubuntu' $menuentry_id_option 'gnulinux-advanced-{UUID}' {{
{inner}}}
menuentry 'Memory test (memtest86+x64.efi)' {{
  linux\t/boot/memtest86+x64.bin
}}
{after}
"""


BY_ID = f"gnulinux-advanced-{UUID}>gnulinux-{OURS}-advanced-{UUID}"


@pytest.mark.parametrize(
    ("default", "environment", "release"),
    [
        ("0", "", MINING),
        ("", "", MINING),
        ("1>0", "", MINING),
        ("1>2", "", OURS),
        (BY_ID, "", OURS),
        (f"Advanced options for Ubuntu>Ubuntu, with Linux {OURS}", "", OURS),
        # An id of the submenu is not result from the top: the first entry boots.
        (f"gnulinux-{OURS}-advanced-{UUID}", "", MINING),
        ("9", "", MINING),
        ("${saved_entry}", f"saved_entry={BY_ID}\n", OURS),
        ("${saved_entry}", "saved_entry=1>2\n", OURS),
        ("${saved_entry}", "", MINING),
        ("0", f"saved_entry={BY_ID}\n", MINING),  # it is not read
        ("0", f"next_entry={BY_ID}\n", OURS),  # for one boot
        (BY_ID, "next_entry=0\n", MINING),
    ],
)
def test_next_kernel_is_what_grub_chooses(
    tmp_path: Path, default: str, environment: str, release: str
) -> None:
    create_files(
        tmp_path,
        {
            "boot/grub/grub.cfg": menu(default, MINING, OURS),
            "boot/grub/grubenv": f"# GRUB Environment Block\n{environment}{'#' * 900}",
            f"usr/src/linux-headers-{OURS}/Makefile": "",
            f"lib/modules/{OURS}/build": {"link": f"../../../usr/src/linux-headers-{OURS}"},
        },
    )
    result = boot(Tree(str(tmp_path)))
    assert result["loader"] == "grub"
    assert result["next"]["release"] == release
    assert result["next"]["headers"] is (release == OURS)
    assert [row["release"] for row in result["kernels"]] == [MINING, OURS]
    ours = result["kernels"][1]
    assert (ours["entry"], ours["headers"]) == (BY_ID, True)
    assert ours["arguments"] == ["root=UUID=1b6f7a40-9d5e-4c11-8a7e-2f0c3d4e5f60", "ro", "quiet"]


def test_named_entry_is_what_boots(tmp_path: Path) -> None:
    """The entry that the facts name for a kernel makes GRUB boot it."""
    for number, releases in enumerate([(MINING, OURS), (OURS, MINING), ("6.6-hiveos", OURS)]):
        root = tmp_path / str(number)
        create_files(root, {"boot/grub/grub.cfg": menu("0", *releases)})
        for row in boot(Tree(str(root)))["kernels"]:
            create_files(root, {"boot/grub/grub.cfg": menu(row["entry"], *releases)})
            chosen = boot(Tree(str(root)))["next"]
            assert chosen["release"] == row["release"]


def test_later_default_counts(tmp_path: Path) -> None:
    file = "${config_directory}/custom.cfg"
    source = f"if [ -f  {file} ]; then\n  source {file}\nfi"
    create_files(
        tmp_path,
        {
            "boot/grub/grub.cfg": menu("0", MINING, OURS, after=source),
            "boot/grub/custom.cfg": f'set default="{BY_ID}"\n',
        },
    )
    assert boot(Tree(str(tmp_path)))["next"]["release"] == OURS


def test_image_without_a_release_is_followed(tmp_path: Path) -> None:
    config = "set default=0\nmenuentry 'Miner' {\n linux /boot/vmlinuz root=/dev/sda1\n}\n"
    create_files(
        tmp_path,
        {
            "boot/grub/grub.cfg": config,
            "boot/vmlinuz": {"link": "vmlinuz-6.6-hiveos"},
            "boot/vmlinuz-6.6-hiveos": "",
        },
    )
    assert boot(Tree(str(tmp_path)))["next"] == {
        "release": "6.6-hiveos",
        "entry": "Miner",
        "arguments": ["root=/dev/sda1"],
        "headers": False,
    }


def test_rig_without_grub_has_no_menu(tmp_path: Path) -> None:
    create_files(tmp_path, {"boot/loader/loader.conf": "default x\n", "boot/grub/": None})
    assert boot(Tree(str(tmp_path))) == {"loader": "", "next": None, "kernels": []}


@pytest.mark.parametrize("text", ["{" * 5000, "menuentry '", "submenu 'a' {\n" * 900, "}\n" * 99])
def test_broken_menu_is_no_crash(tmp_path: Path, text: str) -> None:
    create_files(tmp_path, {"boot/grub/grub.cfg": text})
    assert boot(Tree(str(tmp_path)))["next"] is None
