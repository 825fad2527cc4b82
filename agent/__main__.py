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
from agent.configuration.settings import Settings, parse_arguments
from agent.errors import ConfigurationError
from agent.sampling.sampler import PublishedSample, Sampler
from agent.systemd import StateLog, notify_systemd
from agent.web.allowed_hosts import AllowedHosts
from agent.web.app import AgentApp
from agent.web.limits import ClientLimits, find_limits
from agent.web.server import Server, open_sockets
from agent.web.web_config import WebConfigFile

SWITCH_SECONDS = 0.0005  # a scrape waits at most this long for the sampler's thread
CONFIGURATION_STATUS, FAILURE_STATUS = 2, 1

log = logging.getLogger("deeprig-agent")


async def serve(
    settings: Settings, sampler: Sampler, web: WebConfigFile, limits: ClientLimits
) -> None:
    """Serve samples until a signal arrives. Raises RuntimeError if sampling fails."""
    loop = asyncio.get_running_loop()
    app = AgentApp(
        telemetry_path=settings.telemetry_path,
        interval=settings.interval,
        web=web,
        history=sampler.history,
        catalogue=sampler.catalogue,
        hosts=AllowedHosts(settings.host_names),
        limits=limits,
    )
    state_log = StateLog()
    ended, stop = asyncio.Event(), threading.Event()
    sockets = [
        listening for host, port in settings.addresses for listening in open_sockets(host, port)
    ]
    server = Server(app, sockets, limits, web.ssl)
    server.start()
    for host, port in settings.addresses:
        tls = " with TLS" if web.ssl else ""
        log.info("version %s listens on %s:%d%s", VERSION, host or "*", port, tls)
    is_ready = has_failed = False

    def give_up() -> None:
        nonlocal has_failed
        has_failed = True
        ended.set()

    def take_over(published: PublishedSample) -> None:
        nonlocal is_ready
        app.publish(published)
        state_log.update(published)
        # Sent from the event loop for a sample: both threads are alive.
        notify_systemd("WATCHDOG=1" if is_ready else "READY=1")
        is_ready = True

    def sample() -> None:
        def publish(published: PublishedSample) -> None:
            loop.call_soon_threadsafe(take_over, published)

        try:
            sampler.run(stop, publish)
        except RuntimeError:  # the loop was closed meanwhile
            if not stop.is_set():
                raise
        finally:
            if not stop.is_set():  # sampling failed: end, so that systemd restarts the agent
                loop.call_soon_threadsafe(give_up)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    thread = threading.Thread(target=sample, name="sampler", daemon=True)
    thread.start()
    await ended.wait()
    notify_systemd("STOPPING=1")
    stop.set()
    server.close()
    thread.join(timeout=settings.nvml_deadline + 1)
    if has_failed:
        raise RuntimeError("sampling ended")


def main(words: Sequence[str]) -> int:
    """Run the agent; return its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        settings = parse_arguments(words)
        web = WebConfigFile(settings.web_config)
        limits = find_limits()
    except ConfigurationError as error:
        print(f"deeprig-agent: {error}", file=sys.stderr)
        return CONFIGURATION_STATUS
    sampler = Sampler(settings)
    gc.freeze()  # modules and tables stay: collections can skip them
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
