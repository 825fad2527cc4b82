"""Keep a rig running: boot it, boot it again when it reboots, stop it on SIGTERM.

    python -m lab.rigs.supervisor NAME

systemd-nspawn ends with 133 when the rig reboots and with 0 when it powers off.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from lab.build import image
from lab.rigs import cgroup, process, server
from lab.rigs.machine import Rig
from lab.simulate import faults

REBOOT = 133
STOP_SECONDS = 25
#: The rig's fstab mounts /tmp, so nspawn must not.
ENVIRONMENT = os.environ | {"SYSTEMD_NSPAWN_TMPFS_TMP": "0"}


class Supervisor:
    """A rig from power on to power off."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.stopping = False
        self.container: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Boot the rig until it powers off."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        shop = server.RepositoryServer(self.rig)
        shop.start()
        status = REBOOT
        try:
            while status == REBOOT and not self.stopping:
                status = self.boot()
                if status == REBOOT and faults.is_on(self.rig, "no-return"):
                    self.rig.update_state(state="lost", since=time.time())
                    while not self.stopping and faults.is_on(self.rig, "no-return"):
                        time.sleep(0.1)
        finally:
            shop.stop()
            image.unmount(self.rig.root)
            self.rig.update_state(state="off", since=time.time(), status=status)

    def boot(self) -> int:
        """Boot once; return nspawn's exit status."""
        command = self.rig.prepare()
        boots = self.rig.state().get("boots", 0) + 1
        print(f"--- boot {boots} of {self.rig.name} ---", flush=True)
        self.container = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
        process.write_pid(self.rig.container_pid_file, self.container.pid)
        self.rig.update_state(state="running", boots=boots, since=time.time())
        if self.stopping:  # the signal came before the container was started
            self.container.terminate()
        asked_at = 0.0
        while True:
            try:
                return self.container.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                if self.stopping:
                    asked_at = asked_at or time.monotonic()
                    if time.monotonic() - asked_at > STOP_SECONDS:
                        self.container.kill()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Ask the rig to shut down, as its power button does."""
        self.stopping = True
        if self.container is not None and self.container.poll() is None:
            self.container.terminate()


def main() -> None:
    """Run the supervisor of the rig that the command line names."""
    rig = Rig(sys.argv[1])
    while not Path(rig.pid_file).exists():
        time.sleep(0.01)
    with cgroup.entered(f"deeprig-{rig.machine_name}"):
        Supervisor(rig).run()


if __name__ == "__main__":
    main()
