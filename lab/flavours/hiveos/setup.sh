dpkg --install /usr/lib/lab-hardware/driver/*.deb
apt-mark hold nvidia-settings
# A partition of its own, as on the images: here a folder that is bound there.
mv /hive-config /var/lib/hive-partition
mkdir /hive-config
echo '/var/lib/hive-partition /hive-config none bind 0 0' >>/etc/fstab
# Its package edits files of the distribution when it is installed.
sed -i 's/^#\?Storage=.*/Storage=volatile/' /etc/systemd/journald.conf
echo 'vm.nr_hugepages = 128' >>/etc/sysctl.conf
rm -f /etc/cron.daily/logrotate
