#!/bin/bash
# Tells the farm how the rig does and runs what it answers. There is no farm here.
while sleep 10; do
    screen -ls miner | grep -q '\.miner' || screen -dmS miner /root/xminer.sh
done
