# Print what `fab reinstall` must know about a rig: one line for each thing, its fields apart by tabs. Read-only.
#   survey.sh USER    the user who logs in
user=$1

row() { # FIELD …
    printf '%s' "$1"
    shift
    [ $# = 0 ] || printf '\t%s' "$@"
    echo
}

. /etc/os-release 2>/dev/null
row system "${PRETTY_NAME:-unknown}" "${ID:-}" "${VERSION_ID:-}" "$(uname -r)" "$(uname -m)"
row running "${running:--}" "$(kernel_word deeprig.trial)"
row boot_id "$(cat /proc/sys/kernel/random/boot_id)"

where=${top:-/}
row root "$(findmnt -no SOURCE "$where" | sed 's/\[.*//')" "$(findmnt -no FSTYPE "$where")" \
    "$(findmnt -no UUID "$where")" "$(findmnt -no OPTIONS "$where")"
device=$(findmnt -no SOURCE "$where" | sed 's/\[.*//')
lsblk -snro NAME,TYPE,SIZE,ROTA,TRAN,MODEL "$device" 2>/dev/null | while read -r line; do
    # shellcheck disable=SC2086 # its words are fields; a model may have none
    set -- $line
    row device "$1" "$2" "$3"
done
df -Pk "$where" | awk 'NR == 2 { print "room\t" $2 "\t" $4 }'
df -Pi "$where" | awk 'NR == 2 { print "inodes\t" $4 }'
awk '$1 == "MemTotal:" { print "memory\t" $2 }' /proc/meminfo

if boot=$(mount_boot); then
    row boot "$boot" "$(findmnt -no FSTYPE -T "$boot")" "$(findmnt -no UUID -T "$boot")"
    [ -r "$boot/grub.cfg" ] && row grub_cfg "$(grep -c 'custom\.cfg' "$boot/grub.cfg")" \
        "$(grep -c next_entry "$boot/grub.cfg")"
    [ -f "$boot/grubenv" ] && row grubenv "$(stat -c %s "$boot/grubenv")"
    for folder in "$boot"/i386-pc "$boot"/x86_64-efi; do
        [ -d "$folder" ] && row platform "${folder##*/}"
    done
    if [ -f "$boot/custom.cfg" ]; then
        sed -n "/^$BEGIN/,/^$END/s,^  set default=,/,p" "$boot/custom.cfg" | while read -r name; do row default "$name"; done
    fi
fi
row grub "$(grub-mkconfig --version 2>/dev/null | awk '{ print $NF }')"
if [ -d /sys/firmware/efi ]; then
    secure=$(od -An -tu1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null | tr -d ' ')
    row firmware uefi "${secure:-0}"
else
    row firmware bios 0
fi
for tool in tar gzip sha256sum mount chroot findmnt lsblk blkid awk sed grub-reboot grub-editenv systemctl ip; do
    command -v "$tool" >/dev/null 2>&1 || row missing "$tool"
done
for tree in "$top"/deeprig-[0-9]; do
    [ -d "$tree" ] && row tree "${tree#"$top"}" "$(cat "$tree/etc/deeprig/image" 2>/dev/null)" \
        "$(sed -n 's/^PRETTY_NAME="\(.*\)"$/\1/p' "$tree/etc/os-release" 2>/dev/null)"
done
[ -f "/deeprig.image" ] && row image "$(stat -c %s "/deeprig.image")"
[ -e "$WHOLE/etc/os-release" ] && [ -n "$running" ] && row old "$(sed -n 's/^PRETTY_NAME="\(.*\)"$/\1/p' \
    "$WHOLE/etc/os-release")"

[ -r /etc/deeprig/reinstall ] && sed -n 's/^\(old\|system\)=\(.*\)/set_\1\t\2/p' /etc/deeprig/reinstall
if [ "$user" = root ] || sudo -l -U "$user" 2>/dev/null | grep -q NOPASSWD; then row sudo free; else row sudo password; fi
home=$(getent passwd "$user" | cut -d : -f 6)
sed -n '/^[^#]/s/.*\(ssh-[a-z0-9]*\|ecdsa-[a-z0-9-]*\|sk-[a-z0-9@.-]*\) \(AAAA[^ ]*\).*/key\t\1\t\2/p' \
    "$home/.ssh/authorized_keys" 2>/dev/null

# The network, as it is now: interfaces with a default route.
ip -o -4 route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | sort -u | while read -r name; do
    kind=ethernet
    [ -d "/sys/class/net/$name/wireless" ] && kind=wifi
    [ -e "/sys/class/net/$name/device" ] || kind=virtual
    row interface "$name" "$(cat "/sys/class/net/$name/address")" "$kind"
    ip -o -4 addr show dev "$name" scope global | while read -r line; do
        how=static
        case $line in *dynamic*) how=dhcp ;; esac
        row address "$name" "$(echo "$line" | awk '{ print $4 }')" "$how"
    done
    ip -o -4 route show default dev "$name" | sed -n 's/.*via \([^ ]*\).*/\1/p' | while read -r gateway; do
        row gateway "$name" "$gateway"
    done
done
for file in /run/systemd/resolve/resolv.conf /etc/resolv.conf; do
    if [ -r "$file" ]; then
        awk '$1 == "nameserver" && $2 !~ /^127\./ { print "nameserver\t" $2 }' "$file"
        break
    fi
done
