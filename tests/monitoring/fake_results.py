"""The fake rig's results: of collectives, of the last validation, and what root reads."""

from __future__ import annotations

from tests.monitoring.fake_series import GB, Gpu, Values, labelled_series, single_series


def nccl_values(ill: bool, started: float) -> Values:
    """The last result of a collective."""
    run = {"collective": "all_reduce", "backend": "nccl", "ranks": "3"}
    return {
        "nccl_bus_bandwidth_bytes_per_second": single_series(
            0.1 * GB if ill else 0.31 * GB, 0, **run
        ),
        "nccl_bus_bandwidth_expected_bytes_per_second": single_series(0.375 * GB, 0, **run),
        "nccl_latency_seconds": single_series(41e-6, 0, **run),
        "nccl_wrong_values": single_series(12 if ill else 0, 0, **run),
        "nccl_run_timestamp_seconds": single_series(started - 86400, 0, **run),
        "nccl_result_files": labelled_series("state", {"read": 1, "ignored": 0}),
    }


def validation_values(gpus: list[Gpu], ill: bool, started: float) -> Values:
    """The last validation, and the copies that it measured."""
    counts = {"ok": 38, "warning": 2, "critical": 2 if ill else 0, "unknown": 1}
    return {
        "validation_checks": labelled_series("status", counts),
        "validation_timestamp_seconds": single_series(started - 86400),
        "validation_duration_seconds": single_series(41.5),
        "copy_bandwidth_bytes_per_second": [
            series
            for gpu in gpus
            for series in labelled_series(
                "direction",
                {"host_to_device": 0.4 * GB * gpu.width, "device_to_host": 0.41 * GB * gpu.width},
                address=gpu.address,
            )
        ],
    }


def system_values(ill: bool, started: float) -> Values:
    """Kernels and packages, as root reads them."""
    kernels = {"6.1.0-30-amd64": 1.0, "6.1.0-31-amd64": 0.0 if ill else 1.0}
    return {
        "system_kernel_driver": labelled_series("kernel", kernels),
        "system_next_boot_driver": single_series(0 if ill else 1),
        "system_unfinished_packages": single_series(2 if ill else 0),
        "system_driver_packages": labelled_series("branch", {"580": 30}),
        "system_driver_packages_by_origin": labelled_series("origin", {"vendor": 30}),
        "system_driver_packages_not_held": single_series(12 if ill else 0),
        "system_state_timestamp_seconds": single_series(started - 300),
    }
