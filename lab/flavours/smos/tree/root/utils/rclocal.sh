#!/bin/bash
# What a boot starts: the loop that asks what to do, and the miner in its screen.
modprobe nvidia_uvm
nohup /root/utils/update_status.sh >/dev/null 2>&1 &
screen -dmS miner /root/xminer.sh
exit 0
