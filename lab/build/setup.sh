#!/bin/sh
# Runs once inside the image: gives a Debian the hardware of a rig. A flavour's setup follows.
set -e
release=$(uname -r)
work=/var/tmp/lab

grep -v '^#' "$work/replaced-programs.txt" | while read -r path; do
    # The same file, as a distribution with a merged /usr may spell it.
    if dpkg -S "/usr$path" >/dev/null 2>&1; then path=/usr$path; fi
    dpkg-divert --quiet --local --rename --add "$path"
    ln -sfn "/usr/lib/lab-hardware/bin/${path##*/}" "$path"
done

systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer systemd-networkd.service \
    systemd-remount-fs.service # the root is mounted already, and not by LABEL

mkdir -p "/lib/modules/$release/kernel/drivers" /boot/grub
[ -e "/boot/vmlinuz-$release" ] || echo "kernel $release" >"/boot/vmlinuz-$release"
[ -e "/boot/config-$release" ] || echo CONFIG_MODULES=y >"/boot/config-$release"
mkdir /usr/lib/lab-hardware/real # for the modules of a real kernel
ln -s /bin/kmod /usr/lib/lab-hardware/real/depmod
ln -s /bin/kmod /usr/lib/lab-hardware/real/modinfo
touch "/lib/modules/$release/modules.order" "/lib/modules/$release/modules.builtin"
/usr/lib/lab-hardware/real/depmod -a "$release" # lspci wants an index, be it empty
mv "$work/driver" "$work/fake-miner" "$work/clock.so" "$work/slow.so" /usr/lib/lab-hardware/
update-ca-certificates >/dev/null
rm -rf "$work"
