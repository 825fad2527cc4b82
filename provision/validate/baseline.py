"""Compare a validation with earlier ones: what got worse beyond noise.

The noise is measured, not assumed: the single runs behind each value, and, where several earlier
reports are given, how far their values lie apart.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from provision.errors import SourceError
from provision.validate.documents import ReportRow, ValidationReport

FORMAT, FORMAT_VERSION = "deeprig-validation", 1
#: Median absolute deviation to standard deviation, of a normal distribution.
MAD_TO_SIGMA = 1.4826
#: Standard deviations beyond which a difference is none of chance (0.3 % of a normal one's are).
SIGMAS = 3.0
#: Of fewer runs the deviation is taken from their range, by what that is of a normal distribution
#: (standard deviations): the median of so few deviations is not reliable.
RANGES = {2: 1.13, 3: 1.69, 4: 2.06}
BETTER_FIRST = ("ok", "unknown", "warning", "critical")
Direction = Literal["worse", "better", "same", "gone", "new"]


@dataclass(frozen=True)
class MetricChange:
    """A value or a status before and now.

    noise: one standard deviation of the difference, as a share; None where nothing is known of it.
    """

    check: str
    subject: str
    direction: Direction
    before: str
    now: str
    share: float | None = None
    noise: float | None = None

    @property
    def line(self) -> str:
        """The change in a line, with the noise it was held against."""
        text = f"{self.check}, {self.subject}: {self.before} -> {self.now}"
        if self.share is None:
            return text
        noise = "not known" if self.noise is None else f"{self.noise:.1%}"
        return f"{text} ({self.share:+.1%}, noise {noise})"


def load(path: Path) -> ValidationReport:
    """Return a report of an earlier run. Raises SourceError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise SourceError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SourceError(f"{path} is not a report of a validation")
    if document.get("version") != FORMAT_VERSION:
        raise SourceError(
            f"{path} is of version {document.get('version')!r}, and this deeprig reads "
            f"{FORMAT_VERSION}",
            advice="Compare with the deeprig that wrote it, or make a new baseline.",
        )
    return cast(ValidationReport, document)


def compare(before: Sequence[ValidationReport], now: ValidationReport) -> list[MetricChange]:
    """Return the changes since the earlier reports; of statuses, the last report's counts."""
    changes = list(_compare_statuses(before[-1], now))
    old = [_rows_with_values(document) for document in before]
    new = _rows_with_values(now)
    for key in sorted(old[-1].keys() | new.keys()):
        if key not in new:
            changes.append(MetricChange(*key, "gone", _format_value(old[-1][key]), "not measured"))
        elif key not in old[-1]:
            changes.append(MetricChange(*key, "new", "not measured", _format_value(new[key])))
        else:
            changes.append(
                _compare_rows(key, [values[key] for values in old if key in values], new[key])
            )
    return changes


def describe_unjudged(changes: Sequence[MetricChange]) -> str:
    """Return a sentence about values whose noise is not known; empty where there are none."""
    count = sum(1 for change in changes if change.share is not None and change.noise is None)
    if not count:
        return ""
    return (
        f"of {count} values neither report has single runs: how much they scatter is not known, "
        "and none counts as worse. Give --baseline several times, with reports of several runs."
    )


def _compare_rows(
    key: tuple[str, str], before: Sequence[ReportRow], now: ReportRow
) -> MetricChange:
    earlier = [float(row["value"]) for row in before]
    was, value = statistics.median(earlier), float(now["value"])
    noise = _noise(earlier, before, now)
    direction: Direction = "same"
    if noise is None:
        pass  # any difference may be chance
    elif value < was - SIGMAS * noise and _are_apart(now, before):
        direction = "worse"
    elif value > was + SIGMAS * noise and _are_apart(before[-1], [now]):
        direction = "better"
    return MetricChange(
        *key,
        direction,
        _format_value({**now, "value": was}),
        _format_value(now),
        (value - was) / was if was else 0.0,
        None if noise is None else noise / was if was else 0.0,
    )


def _noise(earlier: Sequence[float], before: Sequence[ReportRow], now: ReportRow) -> float | None:
    """Return one standard deviation of the difference of two values, from what is known of each.

    What is known of one counts for the other, too: both are the same measurement. None where
    there are single runs of neither (older reports have none of some), and one baseline alone.
    """
    sigmas = [sigma for row in before if (sigma := _sigma(row.get("repeats", ()))) is not None]
    within = statistics.fmean(sigmas) if sigmas else None
    new_sigma = _sigma(now.get("repeats", ()))
    between = statistics.stdev(earlier) if len(earlier) > 1 else None
    if within is None and new_sigma is None and between is None:
        return None
    old = max(
        estimate
        for estimate in (within, between, new_sigma if within is None else 0.0)
        if estimate is not None
    )
    new = max(
        estimate
        for estimate in (new_sigma, between, within if new_sigma is None else 0.0)
        if estimate is not None
    )
    return float((old**2 + new**2) ** 0.5)


def _sigma(repeats: Sequence[float]) -> float | None:
    """Return the spread of single runs, whatever an outlier among them; None of a single one."""
    if len(repeats) < 2:
        return None
    if len(repeats) in RANGES:
        return (max(repeats) - min(repeats)) / RANGES[len(repeats)]
    middle = statistics.median(repeats)
    return MAD_TO_SIGMA * statistics.median(abs(repeat - middle) for repeat in repeats)


def _are_apart(low: ReportRow, high: Sequence[ReportRow]) -> bool:
    """Return whether every single run of one lies below every one of the others."""
    above: list[float] = [value for row in high for value in row.get("repeats") or [row["value"]]]
    below: list[float] = low.get("repeats") or [low["value"]]
    return max(below) < min(above)


def _rows_with_values(document: ValidationReport) -> dict[tuple[str, str], ReportRow]:
    """Rows with a number, by the check's title and the row's subject."""
    return {
        (check["title"], row["subject"]): row
        for check in document["checks"]
        for row in check["rows"]
        if row.get("value") is not None
    }


def _compare_statuses(before: ValidationReport, now: ValidationReport) -> Iterator[MetricChange]:
    """Checks whose status differs."""
    old = {check["check"]: check["status"] for check in before["checks"]}
    for check in now["checks"]:
        was, status = old.get(check["check"]), check["status"]
        if was is None or was == status:
            continue
        worse = BETTER_FIRST.index(status) > BETTER_FIRST.index(was)
        yield MetricChange(check["title"], "status", "worse" if worse else "better", was, status)


def _format_value(row: ReportRow) -> str:
    """Return a value with its unit."""
    value, unit = float(row["value"]), row.get("unit", "")
    if unit == "B/s":
        return f"{value / 1e9:.3g} GB/s"
    if unit == "FLOPS":
        return f"{value / 1e12:.3g} TFLOPS"
    return f"{value:.3g} {unit}".rstrip()
