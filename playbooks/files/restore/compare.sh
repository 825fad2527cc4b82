# Bring back what provisioning removed, edited, masked, stopped, enabled or disabled, from the backup that
# it made first; then compare the rig with the backup, and print what still differs.
#
#   cat compare.sh homes.sh restore.sh | sh -s -- [--check] [--lock] [FOLDER]
#
# It needs a shell, GNU tar and systemd, and no Python. With --check it changes nothing. With --lock it takes
# deeprig's lock of the rig, for a caller that has not. Exit status: 0 the rig is as in the backup, 1 something
# differs, 2 no backup is usable. Users, passwords, sshd and its host keys stay as they are now: whoever
# can log in still can.
#
# This file compares; homes.sh works in the homes of users; restore.sh has the steps.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C.UTF-8
export PATH LC_ALL
umask 022

# Of the archive: who may log in; what is generated from other files; what the network sets.
EXCLUDED='etc/passwd*
etc/shadow*
etc/group*
etc/gshadow*
etc/subuid*
etc/subgid*
etc/ssh
etc/machine-id
etc/alternatives
etc/fake-hwclock.data
etc/ld.so.cache
etc/mtab
etc/resolv.conf
etc/ssl/certs
etc/udev/hwdb.bin
boot/grub/grub.cfg
*/.ssh/authorized_keys*'
NEEDED='before.tar.gz packages.txt held.txt units.txt cmdline.txt'

# -- the backup

# Print what is wrong with the backup in the current folder. Checksums that lack a file vouch for nothing.
faults() {
    sha256sum --check --quiet SHA256SUMS 2>/dev/null
    # shellcheck disable=SC2086 # a list of plain names
    set -- $NEEDED *.txt packages/*.deb
    for file in $(printf '%s\n' "$@" | grep -v '[*]' | sort -u); do
        awk -v name="$file" 'substr($0, 67) == name { found = 1 } END { exit !found }' SHA256SUMS ||
            echo "$file: not in SHA256SUMS"
    done
}

from_archive() { # MEMBER: print its content; nothing where the archive lacks it
    tar --extract --to-stdout --file "$folder/before.tar.gz" -- "$1" 2>/dev/null
}

# -- what differs

# Print each path of the archive that differs on the rig, and how, after a tab.
differences() {
    { stdbuf --output=L tar --compare --file "$folder/before.tar.gz" --directory / --numeric-owner --anchored \
        --exclude-from "$work/excluded" 2>&1 || :; } | difference_rows | sort -u
}

# Read what tar prints. Another time of change is not a difference.
difference_rows() {
    tab=$(printf '\t')
    sed -nE "s/^(tar: )?(.+): ((Contents|Symlink|Mode|Uid|Gid|File type|Size|Device number) differs?).*\$/\2$tab\3/p
        t
        s/: Warning: Cannot/: Cannot/
        s/^(tar: )?(.+): Cannot (stat|readlink|open).*\$/\2${tab}missing/p
        t
        s/^(tar: )?(.+): Not linked to .*\$/\2${tab}Link differs/p"
}

# Read `UNIT STATE` of then (first file) and of now; print what to do about each unit that differs.
unit_changes() { # THEN NOW
    awk '
        FNR == NR { before[$1] = $2; next }
        !($1 in before) || before[$1] == $2 { next }
        $1 !~ /[.](service|socket|timer|path|target|mount|automount)$/ { next }
        # A way in or the agent is never switched off.
        $1 ~ /^(ssh|sshd|deeprig)/ && before[$1] != "enabled" { next }
        before[$1] == "enabled" && ($2 == "disabled" || $2 == "masked") { print "enable", $1; next }
        before[$1] == "masked" { print "mask", $1; next }
        $2 == "masked" && before[$1] !~ /runtime/ { print "unmask", $1; next }
        before[$1] == "disabled" && $2 == "enabled" { print "disable", $1 }
    ' "$1" "$2"
}

units_now() { systemctl list-unit-files --no-pager --no-legend --plain 2>/dev/null | awk '{ print $1, $2 }'; }

# Print the links that hide a unit of then, and the links of init scripts, that the archive lacks.
added_links() {
    {
        find /etc/systemd/system /etc/systemd/user -maxdepth 1 -type l -lname /dev/null
        find /etc/rc[0-6S].d -maxdepth 1 -type l
    } 2>/dev/null | sed 's,^/,,' | grep -Fxv -f "$work/members" | while IFS= read -r path; do
        name=${path##*/}
        case $path in
        etc/rc*) grep -Fxq "etc/init.d/${name#[SK][0-9][0-9]}" "$work/members" && echo "$path" ;;
        *)
            template=$(printf '%s\n' "$name" | sed 's/@[^.]*/@/')
            awk -v name="$name" -v template="$template" '($1 == name || $1 == template) && $2 !~ /^masked/ {
                found = 1 } END { exit !found }' units.txt && echo "$path"
            ;;
        esac
    done
}

held_then() { # print the packages that were held, are installed, and are not held now
    apt-mark showhold 2>/dev/null | grep -Fxv -f - held.txt | while IFS= read -r package; do
        state=$(dpkg-query --show --showformat='${db:Status-Status}' -- "$package" 2>/dev/null)
        [ "$state" != installed ] || echo "$package"
    done
}

missing_packages() { # print the package files whose packages are not installed
    for file in packages/*.deb; do
        [ -e "$file" ] || continue
        name=$(dpkg-deb --field "$file" Package)
        state=$(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null)
        [ "$state" = installed ] || echo "$file"
    done
}

missing_arguments() { # print the kernel's arguments that the boot menu of then had, and that of now lacks
    [ -e /boot/grub/grub.cfg ] || return 0
    from_archive boot/grub/grub.cfg >"$work/menu"
    for word in $(cat cmdline.txt); do
        case $word in BOOT_IMAGE=* | root=* | initrd=*) continue ;; esac
        if grep -qFw -e "$word" "$work/menu" && ! grep -qFw -e "$word" /boot/grub/grub.cfg; then echo "$word"; fi
    done
}

# -- mounts

# Print the mount points of then with files on them that are not mounted now. At the next boot fstab mounts
# what lies in memory; no user may put a link in the place of those that are mounted here.
unmounted() {
    from_archive etc/fstab >"$work/fstab"
    awk '$1 !~ /^#/ && NF >= 3 && $2 ~ /^\/[^\\]/ && $2 !~ /^\/home\/[^\/]*\// && $4 !~ /(^|,)noauto(,|$)/ &&
        $3 !~ /^(swap|tmpfs|ramfs|proc|sysfs|devpts|nfs.*|cifs|overlay)$/ { print $2 }' "$work/fstab" |
        while IFS= read -r target; do
            findmnt --noheadings --mountpoint "$target" >/dev/null && continue
            # Something else took its place since.
            [ -z "$(ls -A -- "$target" 2>/dev/null)" ] || continue
            # A disk that was not there then is not missed.
            [ ! -e mounts.txt ] || grep -Fxq -e "$target" mounts.txt || continue
            echo "$target"
        done
}

mount_again() { # MOUNT POINT
    made=''
    [ -e "$1" ] || { mkdir -m 755 -- "$1" && made=yes; }
    if mount --fstab "$work/fstab" "$1" 2>"$work/error"; then report "$1 (mounted)"; return; fi
    echo "not mounted: $1: $(tail -n 1 "$work/error")"
    [ -z "$made" ] || rmdir -- "$1"
}
