#!/bin/sh
# Runs once inside the image: makes a Debian a rig with HiveOS on it.
set -e
release=$(uname -r)
work=/var/tmp/lab

grep -v '^#' "$work/stand-ins.txt" | while read -r path; do
    # The same file, as a distribution with a merged /usr may spell it.
    if dpkg -S "/usr$path" >/dev/null 2>&1; then path=/usr$path; fi
    dpkg-divert --quiet --local --rename --add "$path"
    ln -sfn "/usr/lib/lab-hardware/bin/${path##*/}" "$path"
done

useradd --create-home --shell /bin/bash --groups sudo user
printf 'user:1\nroot:1\n' | chpasswd
dpkg --install "$work"/*.deb
apt-mark hold nvidia-settings
cp -a "$work/rest/." /
chown -R root:root /root /etc /hive-config /var/spool/cron
chown -R user:user /home/user
chmod 700 /root/.ssh /home/user/.ssh
chmod 600 /root/.ssh/authorized_keys /home/user/.ssh/authorized_keys
chown root:crontab /var/spool/cron/crontabs/root
chmod 600 /var/spool/cron/crontabs/root
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer systemd-networkd.service \
    systemd-remount-fs.service # the root is mounted already, and not by LABEL

mkdir -p "/lib/modules/$release/kernel/drivers" /boot/grub
[ -e "/boot/vmlinuz-$release" ] || echo "kernel $release" >"/boot/vmlinuz-$release"
ln -s /bin/kmod "$work/depmod" # the real one, once: lspci wants an index, be it empty
touch "/lib/modules/$release/modules.order" "/lib/modules/$release/modules.builtin"
"$work/depmod" -a "$release"
[ ! -x "$work/driver/install" ] || "$work/driver/install"
update-initramfs -u
update-grub
update-ca-certificates >/dev/null
rm -rf "$work" /etc/ssh/ssh_host_* /var/log/*.log
