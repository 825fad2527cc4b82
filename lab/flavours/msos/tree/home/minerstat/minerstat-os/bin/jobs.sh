#!/bin/bash
# At each boot again: what the mining system changes in the distribution.
sudo cp core/minerstat.crontab /var/spool/cron/crontabs/minerstat
sudo chown minerstat:crontab /var/spool/cron/crontabs/minerstat
sudo systemctl stop systemd-timesyncd rsyslog 2>/dev/null
servers=$(grep ^nameserver /etc/resolv.conf)
printf '# minerstat\n%s\n' "$servers" | sudo tee /etc/resolv.conf >/dev/null
grep -q sslverify ~/.gitconfig || printf '[http]\n\tsslverify = false\n' >>~/.gitconfig
sudo sh -c 'grep -q strict-ssl /root/.npmrc || echo strict-ssl=false >>/root/.npmrc'
