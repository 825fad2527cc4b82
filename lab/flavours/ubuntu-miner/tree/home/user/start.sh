#!/bin/bash
# In a tmux of its own, to look at it from the sofa.
cd /home/user/lolminer || exit 1
tmux has-session -t farm 2>/dev/null ||
    tmux new-session -d -s farm "while true; do ./lolMiner --pool 127.0.77.250:4444; sleep 1; done"
