"""Tests of Prometheus rules and Grafana dashboards for a rig's metrics."""
