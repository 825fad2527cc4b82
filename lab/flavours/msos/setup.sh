apt-mark hold linux-generic linux-image-generic linux-headers-generic linux-firmware
update-rc.d shellinabox defaults
systemctl --quiet disable systemd-timesyncd.service rsyslog.service
