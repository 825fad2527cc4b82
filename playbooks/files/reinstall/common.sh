# What the steps of `fab reinstall` share on a rig: cat common.sh STEP.sh | sh -s -- ARGUMENTS
#
# Trees: the old system is at the top of its file system (or in another tree), the new one in a folder of it,
# /deeprig-1 or /deeprig-2. Every step can be cut off anywhere and run again.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 022
WHOLE=/run/deeprig/whole # where a system that is in a tree sees the whole file system
BEGIN='# BEGIN deeprig: fab reinstall --undo takes this out'
END='# END deeprig'

refuse() { # TEXT: end this step
    echo "$1" >&2
    exit 3
}

check_tree() { # TREE: a typo must not remove another folder
    case $1 in
    /deeprig-1 | /deeprig-2) ;;
    *) refuse "$1 is not the folder of a new system" ;;
    esac
}

kernel_word() { # NAME: print the value of NAME=VALUE on the kernel's command line
    tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p" | tail -n 1
}

running=$(kernel_word subroot) # the tree that runs; empty for a system at the top
top=${running:+$WHOLE}         # the top of the file system, without a slash at its end

# The old system is mounted read-only there; a step that changes it calls this first.
open_whole() {
    trap close_whole EXIT
    [ -z "$running" ] || [ -w "$WHOLE/boot" ] || mount -o remount,bind,rw "$WHOLE" || refuse "$WHOLE can't be written"
}

close_whole() {
    [ -z "$running" ] || mount -o remount,bind,ro "$WHOLE" 2>/dev/null
}

mount_boot() { # print the folder that GRUB reads: boot/grub, of the top or of a partition for it
    if [ -z "$running" ]; then
        echo /boot/grub
        return
    fi
    partition=$(sed -n 's/^boot=//p' /etc/deeprig/reinstall 2>/dev/null)
    if [ -z "$partition" ]; then
        echo "$WHOLE/boot/grub"
        return
    fi
    mkdir -p /run/deeprig/boot
    mountpoint -q /run/deeprig/boot || mount "UUID=$partition" /run/deeprig/boot || return 1
    echo /run/deeprig/boot/grub
}

replace() { # FILE: take its new content from standard input; a power cut leaves the old one or the new one
    cat >"$1.deeprig" && sync && mv -f "$1.deeprig" "$1" && sync
}

tree_journal() { # TREE OPTION …: its journalctl, since an old one can't read what a new one writes
    root=$1
    shift
    chroot "$root" journalctl --directory /var/log/journal --no-pager "$@" 2>/dev/null
}

last_boot() { # TREE: print the identifier of the latest boot in its journal; a clock may be wrong, an order is not
    tree_journal "$1" --list-boots | awk 'NF > 2 { id = $2 } END { print id }'
}
