"""`make verify-advise`: what provision.advise predicts against what agent.bench measures.

Ranks run in network namespaces whose links are held to a rate; costs are calibrated at other rates
and sizes than those that are then predicted. The table and its plot go to docs/.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from lab.errors import LabError
from lab.report import say
from lab.verify_advise import netns, page
from lab.verify_advise.cases import list_broken_promises, load, mean_error
from lab.verify_advise.measure import calibrate, measure

DOCS = Path(__file__).parents[2] / "docs"


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """A signal that ends us ends us as Ctrl-C does: namespaces are removed on the way out."""
    raise KeyboardInterrupt


def main() -> int:
    """0 when all promises hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-docs", action="store_true", help="print only, write nothing")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, raise_interrupt)
    settings = load()
    workloads = settings["workloads"]
    try:
        busy = os.getloadavg()[0]
        if busy > 1:
            say(f"This machine is busy (load {busy:.1f}): times may be off.")
        calibration = calibrate(settings, workloads)
        cases = measure(settings, workloads, calibration)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; its namespaces are gone.", file=sys.stderr)
        return 130
    finally:
        netns.clear()
    wrong = list_broken_promises(cases, settings)
    say(f"{len(cases)} cases, mean error {mean_error(cases):.1%}")
    for line in wrong:
        say(f"✗ {line}")
    if not asked.no_docs:
        page.write(cases, calibration, settings, DOCS)
        say("docs/advise-verified.md and .svg are written")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
