#!/bin/bash
# Settings first, then what mines.
cd /home/minerstat/minerstat-os || exit 1
bin/jobs.sh
sudo modprobe nvidia_uvm
core/screenr
sudo tmux new-session -d -s agent core/wrapper
core/checker
while sleep 10; do :; done
