dpkg --install /usr/lib/lab-hardware/driver/*.deb
apt-mark hold nvidia-settings
