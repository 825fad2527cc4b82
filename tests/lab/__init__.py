"""Tests against lab rigs: real sshd, systemd, apt and reboots."""
