#!/bin/bash
# The miner again and again, whatever happens to it.
cd /home/minerstat/minerstat-os/clients || exit 1
while true; do
    t-rex/t-rex --algo ethash --pool 127.0.77.250:4444 --api 4068 --no-watchdog
    sleep 1
done
