# Make a tree this rig's own: personalise.sh TREE USER SUDO BOOT SYSTEM
#
# USER: who logs in. SUDO: free, or password. BOOT: the UUID of a partition for /boot, or -. SYSTEM: its name in
# playbooks/vars/reinstall.yml. The operator's public keys and the network's settings were sent before.
# The tree gets the rig's name, time zone, machine-id and SSH host keys, the user, the file systems that are
# mounted, and the network as it is now.
open_whole
tree=$top$1 user=$2 sudo=$3 boot=${4#-} system=$5
keys=/deeprig.keys
check_tree "$1"
[ -s "$keys" ] || refuse "no key of the operator was sent"

copy() { # FILE: as it is, if there is one
    [ -e "$1" ] || return 0
    rm -rf "${tree:?}$1"
    cp -a "$1" "$tree$1"
}

printf 'boot=%s\nold=%s\nsystem=%s\n' "$boot" "$running" "$system" >"$tree/etc/deeprig/reinstall"
copy /etc/hostname
copy /etc/timezone
copy /etc/localtime
echo 'LANG=C.UTF-8' >"$tree/etc/default/locale"
cp "$(readlink -f /etc/machine-id)" "$tree/etc/machine-id"
name=$(cat /proc/sys/kernel/hostname)
echo "$name" >"$tree/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost ip6-loopback\n' "$name" >"$tree/etc/hosts"

mkdir -p "$tree/var/log/journal" # it must outlive a trial that fails

# -- SSH: the same host keys, so that the rig is known; no passwords
rm -f "$tree"/etc/ssh/ssh_host_*
cp -a /etc/ssh/ssh_host_* "$tree/etc/ssh/" || refuse "the rig's SSH host keys can't be copied"
chown root:root "$tree"/etc/ssh/ssh_host_*
chmod 600 "$tree"/etc/ssh/ssh_host_*_key
mkdir -p "$tree/etc/ssh/sshd_config.d"
{
    echo '# By deeprig: keys alone.'
    echo 'PasswordAuthentication no'
    echo 'KbdInteractiveAuthentication no'
    echo 'PermitRootLogin prohibit-password'
    sshd -T 2>/dev/null | awk '$1 == "port" && $2 != 22 { print "Port " $2 }'
} >"$tree/etc/ssh/sshd_config.d/00-deeprig.conf"

# -- the user, with the same numbers and the same password for sudo
add_keys() { # HOME OWNER
    mkdir -p -m 700 "$tree$1/.ssh"
    cp "$keys" "$tree$1/.ssh/authorized_keys"
    chmod 700 "$tree$1/.ssh"
    chmod 600 "$tree$1/.ssh/authorized_keys"
    chown -R "$2" "$tree$1/.ssh"
}
if [ "$user" = root ]; then
    add_keys /root 0:0
else
    entry=$(getent passwd "$user") || refuse "the user $user does not exist"
    uid=$(echo "$entry" | cut -d : -f 3)
    home=$(echo "$entry" | cut -d : -f 6)
    if ! grep -q "^$user:" "$tree/etc/passwd"; then
        chroot "$tree" groupadd -f -o -g "$(echo "$entry" | cut -d : -f 4)" "$user"
        chroot "$tree" useradd -o -u "$uid" -g "$user" -d "$home" -m -s /bin/bash -G sudo "$user" ||
            refuse "the user $user can't be added"
    fi
    hash=$(getent shadow "$user" | cut -d : -f 2)
    chroot "$tree" usermod -p "${hash:-!}" "$user"
    add_keys "$home" "$uid:$(chroot "$tree" id -g "$user")"
    rm -f "$tree/etc/sudoers.d/deeprig"
    if [ "$sudo" = free ]; then
        echo "$user ALL=(ALL:ALL) NOPASSWD: ALL" >"$tree/etc/sudoers.d/deeprig"
        chmod 440 "$tree/etc/sudoers.d/deeprig"
    fi
fi

# -- file systems: the root is the same, seen from a folder; other disks must not stop a boot
{
    echo "UUID=$(findmnt -no UUID "${top:-/}") / $(findmnt -no FSTYPE "${top:-/}") errors=remount-ro 0 1"
    awk '$1 !~ /^#/ && NF >= 4 && $2 ~ /^\// && $2 != "/" && $2 !~ /^\/boot/ && $1 ~ /^(UUID|LABEL|PARTUUID)=/ {
        if ($4 !~ /nofail/) $4 = $4 ",nofail"
        print $1, $2, $3, $4, 0, 0
    }' /etc/fstab
} >"$tree/etc/fstab"

# -- how package sources are reached: a proxy, and what the old system's apt takes for granted
apt-config dump 2>/dev/null | grep -E '^Acquire::(http|https|Check-)' | grep -v '"";$' >"$tree/etc/apt/apt.conf.d/90deeprig"

# -- the network: settings of systemd-networkd
mkdir -p "$tree/etc/systemd/network" "$tree/etc/wpa_supplicant"
rm -f "$tree"/etc/systemd/network/*deeprig*
cp /deeprig.network/*.network "$tree/etc/systemd/network/" || refuse "no settings of the network were sent"
chmod 644 "$tree"/etc/systemd/network/*
for unit in systemd-networkd systemd-resolved ssh; do
    chroot "$tree" systemctl --quiet enable "$unit" 2>/dev/null
done
ln -sfn ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
rm -rf "$keys" "/deeprig.network"
sync
# What must be true before such a tree is booted.
for path in usr/sbin/update-grub etc/ssh/sshd_config.d/00-deeprig.conf usr/lib/systemd/systemd; do
    [ -e "$tree/$path" ] || refuse "the new system has no /$path"
done
ls "$tree"/boot/vmlinuz-* "$tree"/boot/initrd.img-* >/dev/null || refuse "the new system has no kernel"
mkdir -p "$tree/run/sshd"
chroot "$tree" /usr/sbin/sshd -t || refuse "the new system's sshd does not accept its settings"
echo "prepared"
