"""Several hosts on one machine: network namespaces, joined by a bridge."""

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self

_NAME = f"sw{os.getpid() % 100_000}"


def can_make_hosts() -> bool:
    """Tell whether this process may make network namespaces and join them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with SweepHosts(1):
            return True
    except subprocess.CalledProcessError:
        return False


class SweepHosts:
    """Hosts 0, 1 ..., for a `with`."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> Self:
        """Make them."""
        try:
            # The switch has a namespace of its own, too, so that the machine's network is left.
            _ip("netns", "add", f"{_NAME}s")
            self._ip_switch("link", "add", "br0", "type", "bridge")
            self._ip_switch("link", "set", "br0", "up")
            for number in range(self.count):
                self._make_host(number)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove them."""
        for name in (*map(self.name, range(self.count)), f"{_NAME}s"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def name(self, number: int) -> str:
        """Return the name of a host's namespace."""
        return f"{_NAME}h{number}"

    def address(self, number: int) -> str:
        """Return a host's address."""
        return f"10.213.0.{number + 1}"

    def command(self, number: int) -> list[str]:
        """Return what precedes a command that is to run on a host."""
        return ["ip", "netns", "exec", self.name(number)]

    def cut(self, number: int) -> None:
        """Pull a host's cable."""
        self._ip_switch("link", "set", f"port{number}", "down")

    def _make_host(self, number: int) -> None:
        name = self.name(number)
        _ip("netns", "add", name)
        self._ip_switch(
            "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name
        )
        self._ip_switch("link", "set", f"port{number}", "master", "br0", "up")
        _ip("-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", name, "link", "set", device, "up")

    def _ip_switch(self, *arguments: str) -> None:
        _ip("-n", f"{_NAME}s", *arguments)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
