useradd --system --home-dir /var/lib/vastai_kaalia --shell /bin/bash vastai_kaalia
chown -R vastai_kaalia /var/lib/vastai_kaalia
