#!/bin/bash
# At boot: all starts in a screen.
cd /home/minerstat/minerstat-os || exit 1
[ -e /dev/shm/boot.pid ] || screen -dmS boot_process bin/work.sh
echo 1 >/dev/shm/boot.pid
