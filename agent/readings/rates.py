"""How much a PCIe link carries, by its width in lanes and its speed in transfers per second.

Standard library only: the operator's side uses the same figures.
"""

from __future__ import annotations

#: Transfers per second of a generation (PCI Express Base Specification).
GENERATIONS = {1: 2.5e9, 2: 5e9, 3: 8e9, 4: 16e9, 5: 32e9, 6: 64e9}
#: Share of the raw transfers that carries data: 8b/10b up to 5 GT/s, 128b/130b up to 32 GT/s,
#: 242 of 256 bytes a flit from 64 GT/s on (PCI Express Base Specification, 6.0).
ENCODING = ((5e9, 8 / 10), (32e9, 128 / 130), (64e9, 242 / 256))
#: Bytes per second that NCCL assumes for a lane in its topology, where Gen3 x1/x4/x8/x16 are
#: 0.75/3/6/12 GB/s. About three quarters of what the wire carries.
NCCL_LANE = {2.5e9: 0.1875e9, 5e9: 0.375e9, 8e9: 0.75e9, 16e9: 1.5e9, 32e9: 3e9, 64e9: 6e9}
#: Share of a link's bandwidth that a copy between host and GPU reaches: an H200 at Gen5 x16 moves
#: 55.4 of 63 GB/s; posted writes reach 89.8 % at most (Intel AN 708). 0.85 to 0.88 is measured.
COPY_SHARE = 0.85


def bandwidth(width: int | None, speed: float | None) -> float | None:
    """Return the bytes per second that a link carries in one direction, before packet headers.

    >>> round(bandwidth(1, 8e9) / 1e9, 3)
    0.985
    """
    if not width or not speed:
        return None
    share = next((share for most, share in ENCODING if speed <= most), ENCODING[-1][1])
    return width * speed / 8 * share


def nccl_bandwidth(width: int | None, speed: float | None) -> float:
    """Return the bytes per second that NCCL assumes for a link; 0 if the link is unknown.

    >>> nccl_bandwidth(4, 8e9) / 1e9
    3.0
    """
    return (width or 0) * NCCL_LANE.get(speed or 0, 0)


def find_generation(speed: float) -> int:
    """Return the PCIe generation whose speed is the nearest.

    >>> find_generation(8e9)
    3
    """
    return min(GENERATIONS, key=lambda generation: abs(GENERATIONS[generation] - speed))
