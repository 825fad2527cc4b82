"""Ansible's other name for systemd_service."""

from __future__ import annotations

from provision.remote.modules.systemd_service import OPTIONS, run

__all__ = ["OPTIONS", "run"]
