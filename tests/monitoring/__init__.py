"""What Prometheus and Grafana make of a rig's metrics."""
