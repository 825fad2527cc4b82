"""`python -m agent`: the resident agent."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from agent import VERSION
from agent.checks import worst
from agent.configuration.settings import Settings, parse
from agent.errors import ConfigurationError
from agent.sampling.sampler import Published, Sampler
from agent.systemd import notify
from agent.web.app import AgentApp
from agent.web.hosts import HostNames
from agent.web.limits import Limits, limits_of_process
from agent.web.server import Server, open_sockets
from agent.web.webconfig import Watched

SWITCH_SECONDS = 0.0005  # a scrape waits no longer than this for the sampler's turn to end
CONFIGURATION_STATUS, FAILURE_STATUS = 2, 1

log = logging.getLogger("deeprig-agent")


class Watch:
    """Says once when something has changed, in the journal and in `systemctl status`."""

    def __init__(self) -> None:
        self._said = ("", "", 0)

    def look(self, published: Published) -> None:
        """Note state and worst verdict of a sample."""
        sample = published.sample
        status = worst(sample.verdicts)
        now = (sample.driver.state, status, sum(gpu.up for gpu in sample.gpus))
        if now != self._said:
            self._said = now
            bad = [
                f"{verdict.title} ({verdict.subject}): {verdict.reading}"
                for verdict in sample.verdicts
                if verdict.status in ("warning", "critical")
            ]
            log.info(
                "driver %s, %d of %d GPUs answer, status %s%s", now[0], now[2], len(sample.gpus),
                status, "".join(f"; {line}" for line in bad[:5]),
            )  # fmt: skip
            notify(f"STATUS={now[2]} of {len(sample.gpus)} GPUs answer; verdict: {status}")


async def serve(settings: Settings, sampler: Sampler, web: Watched, limits: Limits) -> None:
    """Listen, sample, and go on until a signal ends it."""
    loop = asyncio.get_running_loop()
    app = AgentApp(
        telemetry_path=settings.telemetry_path,
        interval=settings.interval,
        web=web,
        history=sampler.history,
        catalogue=sampler.catalogue,
        hosts=HostNames(settings.host_names),
        limits=limits,
    )
    watch = Watch()
    ended, stop = asyncio.Event(), threading.Event()
    sockets = [each for host, port in settings.addresses for each in open_sockets(host, port)]
    server = Server(app, sockets, limits, web.ssl)
    server.start()
    for host, port in settings.addresses:
        log.info("version %s listens on %s:%d%s", VERSION, host or "*", port,
                 " with TLS" if web.ssl else "")  # fmt: skip
    ready = broke = False

    def give_up() -> None:
        nonlocal broke
        broke = True
        ended.set()

    def take_over(published: Published) -> None:
        nonlocal ready
        app.publish(published)
        watch.look(published)
        # Sent from the loop for a sample: both threads live.
        notify("WATCHDOG=1" if ready else "READY=1")
        ready = True

    def sample() -> None:
        def publish(published: Published) -> None:
            loop.call_soon_threadsafe(take_over, published)

        try:
            sampler.run(stop, publish)
        except RuntimeError:  # the loop was closed while we sampled
            if not stop.is_set():
                raise
        finally:
            if not stop.is_set():  # it broke: end, and let systemd start us anew
                loop.call_soon_threadsafe(give_up)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    thread = threading.Thread(target=sample, name="sampler", daemon=True)
    thread.start()
    await ended.wait()
    notify("STOPPING=1")
    stop.set()
    server.close()
    thread.join(timeout=settings.nvml_deadline + 1)
    if broke:
        raise RuntimeError("sampling ended")


def main(words: Sequence[str]) -> int:
    """Run; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        settings = parse(words)
        web = Watched(settings.web_config)
        limits = limits_of_process()
    except ConfigurationError as error:
        print(f"deeprig-agent: {error}", file=sys.stderr)
        return CONFIGURATION_STATUS
    sampler = Sampler(settings)
    gc.freeze()  # what is here now stays: no collection need look at it again
    try:
        asyncio.run(serve(settings, sampler, web, limits))
    except OSError as error:
        print(f"deeprig-agent: can't listen: {error.strerror or error}", file=sys.stderr)
        return FAILURE_STATUS
    except RuntimeError as error:
        print(f"deeprig-agent: {error}", file=sys.stderr)
        return FAILURE_STATUS
    finally:
        sampler.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
