[ -f ~/.bashrc ] && . ~/.bashrc
if [ "$(tty)" = /dev/tty1 ]; then
    ~/lolminer/lolMiner --pool 127.0.77.250:4444
fi
