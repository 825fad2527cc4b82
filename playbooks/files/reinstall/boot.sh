# GRUB's side of it: boot.sh trial TREE SECONDS | default TREE | old
#
#   trial    boot TREE once, with a dead man's switch of so many seconds; every other boot is the old system's
#   default  boot TREE from now on
#   old      boot the old system from now on; TREE stays on the disk
#
# Only custom.cfg is written, which GRUB's own configuration reads last; nothing that is generated is edited, and
# no boot sector. A tree has a complete configuration, which its update-grub makes.
open_whole
action=$1 tree=${2:-}
boot=$(mount_boot) || refuse "the partition of /boot can't be mounted"
[ "$action" = old ] || check_tree "$tree"
uuid=$(findmnt -no UUID "${top:-/}")
custom=$boot/custom.cfg

without_entry() { # print custom.cfg as its owner wrote it
    [ ! -f "$custom" ] || sed "/^$BEGIN/,/^$END/d" "$custom"
}

print_block() { # DEFAULT: the tree that boots by itself; empty for the system at the top
    echo "$BEGIN"
    # The default comes first: after --commit, entry 0 is what GRUB falls back on.
    for entry in $1 /deeprig-1 /deeprig-2; do
        case " $printed " in *" $entry "*) continue ;; esac
        [ -e "$top$entry/etc/deeprig/image" ] || continue
        printed="$printed $entry"
        print_entry "$entry"
    done
    echo "set fallback=0"
    # A boot that was asked for once goes before the default.
    [ -z "$1" ] || printf 'if [ -z "${boot_once}" ]; then\n  set default=%s\nfi\n' "${1#/}"
    echo "$END"
}

print_entry() { # TREE
    echo "menuentry 'deeprig: $(sed -n 's/^PRETTY_NAME="\(.*\)"$/\1/p' "$top$1/etc/os-release")' --id ${1#/} \\"
    echo "  --unrestricted {"
    # The tree's folder has no modules for this GRUB: what its configuration uses is loaded before.
    for module in part_msdos part_gpt ext2 gzio search search_fs_uuid search_fs_file search_label loadenv test \
        true echo linux font gfxterm gfxmenu all_video gettext sleep configfile normal reboot halt minicmd serial \
        terminal regexp; do
        for folder in "$boot"/i386-pc "$boot"/x86_64-efi; do
            [ ! -f "$folder/$module.mod" ] || echo "  insmod $module"
        done
    done | sort -u
    echo "  search --no-floppy --fs-uuid --set=root $uuid"
    echo "  set prefix=(\$root)$1/boot/grub"
    echo "  configfile \$prefix/grub.cfg"
    echo "}"
}

write_block() { # DEFAULT
    { without_entry; printed=; print_block "$1"; } | replace "$custom" || refuse "$custom can't be written"
}

now_default() { # print the tree that boots by itself; nothing for the system at the top
    [ ! -f "$custom" ] || sed -n "/^$BEGIN/,/^$END/s,^  set default=,/,p" "$custom"
}

update_tree() { # let the tree's update-grub write its configuration
    mount=/run/deeprig/tree
    mkdir -p "$mount"
    umount -R "$mount" 2>/dev/null
    # As a mount: GRUB's tools then know that the tree's root is a folder of the file system.
    mount --bind "$top$tree" "$mount" || refuse "the tree can't be mounted"
    for name in dev proc sys; do mount --rbind "/$name" "$mount/$name" && mount --make-rslave "$mount/$name"; done
    chroot "$mount" update-grub >/run/deeprig/update-grub.log 2>&1
    status=$?
    umount -R "$mount" 2>/dev/null || umount -Rl "$mount"
    [ "$status" = 0 ] || refuse "update-grub failed in the new system: $(tail -n 1 /run/deeprig/update-grub.log)"
    grep -q "subroot=$tree" "$top$tree/boot/grub/grub.cfg" || refuse "the new system's GRUB menu lacks its folder"
    # If its kernel can't be loaded, restart instead of waiting for a key.
    count=$(grep -cE '^(menuentry|submenu)' "$top$tree/boot/grub/grub.cfg")
    printf "menuentry 'Restart' --unrestricted {\n  reboot\n}\nset fallback=%s\n" "$count" \
        >"$top$tree/boot/grub/custom.cfg"
    sync
}

consoles() { # print the words console=… of the running kernel, each after a blank
    tr ' ' '\n' </proc/cmdline | sed -n '/^console=/s/^/ /p' | tr -d '\n'
}

grub=$top$tree/etc/default/grub.d
unit=$top$tree/etc/systemd/system/deeprig-trial
wants=$top$tree/etc/systemd/system/timers.target.wants

write_settings() { # how the tree boots, whenever it does
    mkdir -p "$grub" "$top$tree/boot/grub"
    # The menu and the kernel write where the old ones did: a serial console stays one.
    {
        printf 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX subroot=%s panic=30%s"\n' "$tree" "$(consoles)"
        echo GRUB_TERMINAL=console
        echo GRUB_GFXPAYLOAD_LINUX=text # the old GRUB has no fonts and no video drivers for this menu
        echo GRUB_TIMEOUT=2
        grep -hE '^GRUB_(TERMINAL|SERIAL)[A-Z_]*=' /etc/default/grub /etc/default/grub.d/*.cfg 2>/dev/null
    } >"$grub/deeprig-tree.cfg"
}

arm_switches() { # SECONDS: of the dead man's switch in the initramfs, and of a second one
    printf 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX deeprig.trial=%s"\n' "$1" >"$grub/deeprig-trial.cfg"
    printf '[Timer]\nOnBootSec=%ss\n' "$(($1 + 60))" >"$unit.timer"
    printf '[Unit]\nConditionKernelCommandLine=deeprig.trial\n[Service]\nType=oneshot\nExecStart=%s\n' \
        '/usr/bin/systemctl --force reboot' >"$unit.service"
    mkdir -p "$wants"
    ln -sfn ../deeprig-trial.timer "$wants/"
}

remove_switches() { # from the settings
    rm -f "$grub/deeprig-trial.cfg" "$unit.timer" "$unit.service" "$wants/deeprig-trial.timer"
}

case $action in
trial)
    [ "$tree" != "$running" ] || refuse "$tree is the system that runs"
    write_settings
    arm_switches "$3"
    last_boot "$top$tree" >"$top$tree/etc/deeprig/boots"
    update_tree
    write_block "$(now_default)"
    grub-reboot --boot-directory="${boot%/grub}" "${tree#/}" || refuse "grub-reboot failed"
    sync
    echo "the next boot is a trial of $tree"
    ;;
default)
    remove_switches
    if [ "$tree" = "$running" ]; then update-grub >/dev/null 2>&1 || refuse "update-grub failed"; else update_tree; fi
    write_block "$tree"
    # The switches of this boot.
    systemctl daemon-reload
    systemctl --quiet stop deeprig-trial.timer 2>/dev/null
    if [ -r /run/deeprig-guard ]; then
        guard=$(cat /run/deeprig-guard)
        for pid in $(cat "/proc/$guard/task/$guard/children" 2>/dev/null) "$guard"; do kill -KILL "$pid" 2>/dev/null; done
        rm -f /run/deeprig-guard
    fi
    echo "$tree is the default"
    ;;
old)
    old=$(sed -n 's/^old=//p' "$top${tree:-$running}/etc/deeprig/reinstall" 2>/dev/null)
    [ -z "$old" ] || [ -e "$top$old/etc/deeprig/image" ] || refuse "the old system, in $old, is no longer there"
    [ -n "$old" ] || [ -e "${top:-/}/etc/os-release" ] || refuse "the old system is no longer there"
    write_block "$old"
    grub-editenv "$boot/grubenv" unset next_entry 2>/dev/null
    sync
    echo "the old system is the default"
    ;;
*) refuse "no such action: $action" ;;
esac
