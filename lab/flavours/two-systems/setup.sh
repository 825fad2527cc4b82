useradd --shell /bin/bash minerstat
chown -R minerstat:minerstat /home/minerstat
chown minerstat:crontab /var/spool/cron/crontabs/minerstat
