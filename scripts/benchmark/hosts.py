"""Several hosts on one machine: network namespaces joined by a bridge, each behind a link of a given rate.

A host is a network namespace with its own host name and its own System V and POSIX IPC, so that MPI libraries, and
ddpnet, take the ranks in it for those of another machine. There is no route to the outside. It needs root, and `ip`,
`tc` and `unshare` of Linux; `missing()` says what is not there.

    with Hosts(3, megabits=200) as hosts:
        subprocess.run(hosts.command([sys.executable, "script.py"], ranks_per_host=2), env=hosts.environment())
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

NETWORK = "198.18.0"
"""Addresses that RFC 2544 keeps for benchmarks."""

_numbers = itertools.count()
_LAUNCHER_VARIABLES = ("PMI", "HYD", "MPI_LOCAL", "OMPI_", "PRTE", "PMIX", "SLURM_", "DDPNET_", "PYTHONUNBUFFERED")
_PREFIX = "ddpnet"
_SECONDS = 20
_CONGESTION_CONTROL = "cubic"
"""Linux's default, whatever this machine's is: BBR's idea of the link, formed by one message, throttles the next."""


def missing() -> str | None:
    """Why there can be no such hosts here, in a few words; None if there can."""
    if not sys.platform.startswith("linux"):
        return f"network namespaces are Linux's, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [name for name in ("ip", "tc", "unshare") if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (packages iproute2 and util-linux)"
    name = f"{_PREFIX}-{os.getpid()}-try"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=_SECONDS)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=_SECONDS)
    return None if done.returncode == 0 else f"no network namespace can be made here: {done.stderr.strip()}"


class Hosts:
    """`count` hosts with the addresses 198.18.0.1 and up; `megabits` a second each way between a host and the bridge.

    RuntimeError says which command failed. At the end all processes in the hosts are killed, and the hosts removed.
    """

    def __init__(self, count: int, *, megabits: float | None = None, mtu: int = 1500) -> None:
        self.count, self.megabits, self.mtu = count, megabits, mtu
        self._prefix = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Hosts:
        reason = missing()
        if reason is not None:
            raise RuntimeError(reason)
        _remove_those_of_the_dead()
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def address(self, host: int) -> str:
        """The address of host 1, 2, ..."""
        return f"{NETWORK}.{host}"

    def command(self, program: Sequence[str], ranks_per_host: int = 1, *, mpiexec: Path | None = None) -> list[str]:
        """The command that runs `program` on ranks_per_host ranks of each host; rank order is host order.

        `mpiexec` is MPICH's or Open MPI's: the one beside this Python unless another is given.
        """
        launcher = mpiexec or Path(sys.executable).parent / "mpiexec"
        ranks, addresses = ranks_per_host * self.count, [self.address(host + 1) for host in range(self.count)]
        if "Open MPI" in _run(str(launcher), "--version"):
            spread = ",".join(f"{address}:{ranks_per_host}" for address in addresses)
            network = f"{NETWORK}.0/24"
            options = ["--allow-run-as-root", "--prtemca", "plm_ssh_agent", self._launcher(), "--host", spread]
            options += ["--map-by", "slot", "--bind-to", "none", "--mca", "pml", "ob1", "--mca", "btl", "self,sm,tcp"]
            options += ["--mca", "btl_tcp_if_include", network, "--prtemca", "prte_if_include", network]
        else:
            options = ["-launcher", "ssh", "-launcher-exec", self._launcher(), "-hosts", ",".join(addresses)]
            options += ["-ppn", str(ranks_per_host)]
        return self.inside(1, [str(launcher), *options, "-n", str(ranks), *program])

    def inside(self, host: int, command: Sequence[str]) -> list[str]:
        """The command that runs another in a host."""
        named = ["sh", "-c", 'hostname "$0"; exec "$@"', f"ddphost{host}", *command]
        return ["ip", "netns", "exec", self._name(host), "unshare", "-u", "-i", *named]

    def environment(self) -> dict[str, str]:
        """This process's environment without what a launcher may have set."""
        return {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHER_VARIABLES)}

    def bytes_sent(self, host: int) -> int:
        """What a host has sent since it was made, frames included."""
        text = _run("ip", "netns", "exec", self._name(host), "cat", "/sys/class/net/eth0/statistics/tx_bytes")
        return int(text)

    def _build(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ddpnet-hosts-")
        bridge = self._name(0)
        _run("ip", "netns", "add", bridge)
        _run("ip", "-n", bridge, "link", "add", "bridge0", "type", "bridge")
        _run("ip", "-n", bridge, "link", "set", "bridge0", "mtu", str(self.mtu), "up")
        for host in range(1, self.count + 1):
            self._add(host, bridge)
        script = Path(self._folder.name) / "launch"
        script.write_text(_LAUNCH.format(prefix=shlex.quote(self._prefix)))
        script.chmod(0o700)

    def _add(self, host: int, bridge: str) -> None:
        """A host, and the cable between its eth0 and a port of the bridge."""
        name, port, mtu = self._name(host), f"port{host}", str(self.mtu)
        _run("ip", "netns", "add", name)
        cable = ("eth0", "netns", name, "mtu", mtu, "type", "veth", "peer", "name", port, "mtu", mtu, "netns", bridge)
        _run("ip", "link", "add", *cable)
        _run("ip", "-n", bridge, "link", "set", port, "master", "bridge0", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        known = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
        if _CONGESTION_CONTROL in known:
            route = (f"{NETWORK}.0/24", "dev", "eth0", "src", self.address(host), "congctl", _CONGESTION_CONTROL)
            _run("ip", "-n", name, "route", "replace", *route)
        if self.megabits is not None:
            self._limit(name, "eth0")
            self._limit(bridge, port)

    def _limit(self, namespace: str, device: str) -> None:
        """A token bucket: a burst of half a millisecond, at least one of the largest packets that TCP hands down."""
        assert self.megabits is not None
        burst = max(int(self.megabits * 1e6 / 8 * 0.5e-3), 70_000)
        rate = f"{round(self.megabits * 1000)}kbit"
        limits = ("rate", rate, "burst", str(burst), "limit", str(4 * 2**20))
        _run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", *limits)

    def _remove(self) -> None:
        for host in range(self.count + 1):
            _remove_host(self._name(host))
        if self._folder is not None:
            self._folder.cleanup()

    def _name(self, host: int) -> str:
        return f"{self._prefix}-{host}"

    def _launcher(self) -> str:
        assert self._folder is not None, "the hosts exist inside `with` only"
        return str(Path(self._folder.name) / "launch")


# What mpiexec calls in place of ssh: options, the address, and the words of a command.
_LAUNCH = """#!/bin/sh
while case "$1" in -*) true ;; *) false ;; esac; do shift; done
host=${{1##*.}}
shift
exec ip netns exec {prefix}-$host unshare -u -i sh -c "hostname ddphost$host; $*"
"""


def _remove_host(name: str) -> None:
    """Kill what runs there, and take the namespace away; one that is not there is no error."""
    for _ in range(40):
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, timeout=_SECONDS)
        for pid in listed.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if not listed.stdout.split():
            break
        time.sleep(0.05)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=_SECONDS)


def _remove_those_of_the_dead() -> None:
    """A process that was killed could not take its hosts away."""
    for name in _run("ip", "netns", "list").split():
        owner = name.removeprefix(f"{_PREFIX}-").partition("-")[0]
        if name.startswith(f"{_PREFIX}-") and owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove_host(name)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
