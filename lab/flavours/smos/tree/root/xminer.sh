#!/bin/bash
# The miner of the day, again and again.
while true; do
    /root/miner/teamredminer --algo ethash --pool 127.0.77.250:4444 --api 4028
    sleep 1
done
