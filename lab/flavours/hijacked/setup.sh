useradd --home-dir /home/support --shell /bin/bash support
chown -R support:support /home/support
