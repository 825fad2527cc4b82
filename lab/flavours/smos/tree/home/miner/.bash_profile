[ -f ~/.bashrc ] && . ~/.bashrc
sudo screen -x miner
