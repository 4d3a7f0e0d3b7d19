"""Two hosts and a router between them that can drop every packet, in network namespaces (Linux, as root).

A namespace exists as long as a child of the sandbox does, so nothing is left
behind. The harness enters a host in order to open sockets or start programs there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket

from . import install
from .sandbox import Child, NotRun, Sandbox, run

# Of the range for tests of network devices (RFC 2544); nothing outside the namespaces has these addresses.
NEAR, FAR = "198.18.0.2", "198.18.0.6"
_GATEWAYS = {NEAR: "198.18.0.1", FAR: "198.18.0.5"}
_CLONE_NEWNET = 0x40000000
_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """A network namespace, and its address."""

    def __init__(self, child: Child, address: str = ""):
        self.pid, self.address = child.process.pid, address
        self._path = f"/proc/{self.pid}/ns/net"

    @contextlib.contextmanager
    def entered(self):
        """Meanwhile, sockets that this thread opens and children that it starts belong to this host."""
        with open("/proc/thread-self/ns/net") as before, open(self._path) as inside:
            _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(before.fileno())

    async def command(self, *argv) -> str:
        status, out, err = await run("nsenter", f"--net={self._path}", *argv)
        if status:
            raise NotRun(f"{' '.join(map(str, argv))}: {err.strip()[-200:]}")
        return out

    async def ip(self, command: str) -> None:
        await self.command("ip", *command.split())


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """`near` and `far`, which reach each other through a router."""

    def __init__(self, near: Host, far: Host, router: Host):
        self.near, self.far, self._router = near, far, router

    async def cut(self) -> None:
        """From now on the router drops every packet, without an ICMP message to its sender."""
        for host in (self.near, self.far):
            await self._router.ip(f"route add blackhole {host.address}/32")


async def network(sandbox: Sandbox) -> Network:
    """Creates the hosts. Raises NotRun where that is not possible."""
    install.debian("iproute2", "util-linux")
    hosts = [await _host(sandbox, address) for address in (NEAR, FAR, "")]
    near, far, router = hosts
    for host in hosts:
        await host.ip("link set lo up")
    for number, host in enumerate((near, far)):
        await router.ip(f"link add to{number} type veth peer name out netns {host.pid}")
        await router.ip(f"address add {_GATEWAYS[host.address]}/30 dev to{number}")
        await router.ip(f"link set to{number} up")
        await host.ip(f"address add {host.address}/30 dev out")
        await host.ip("link set out up")
        await host.ip(f"route add default via {_GATEWAYS[host.address]}")
    await router.command("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    return Network(near, far, router)


async def _host(sandbox: Sandbox, address: str) -> Host:
    child = await sandbox.spawn("unshare", "--net", "sleep", "infinity", name=f"host-{address or 'router'}")
    ours = os.stat("/proc/self/ns/net").st_ino
    async with asyncio.timeout(20):
        while child.running:
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{child.process.pid}/ns/net").st_ino != ours:
                    return Host(child, address)
            await asyncio.sleep(0.01)
    raise NotRun(f"no network namespace: {child.tail()}")


def options(process: int) -> list[dict[str, int]]:
    """The options of each connected TCP socket of another process, by `getsockopt` on a copy of its descriptor."""
    wanted = {"idle": socket.TCP_KEEPIDLE, "interval": socket.TCP_KEEPINTVL, "probes": socket.TCP_KEEPCNT,
              "user_timeout": socket.TCP_USER_TIMEOUT}
    found, handle = [], os.pidfd_open(process)
    try:
        for name in os.listdir(f"/proc/{process}/fd"):
            copy = _libc.syscall(_PIDFD_GETFD, handle, int(name), 0)
            if copy < 0:
                continue
            if not os.readlink(f"/proc/self/fd/{copy}").startswith("socket:"):
                os.close(copy)
                continue
            with socket.socket(fileno=copy) as each, contextlib.suppress(OSError):
                each.getpeername()
                if each.family in (socket.AF_INET, socket.AF_INET6) and each.type == socket.SOCK_STREAM:
                    on = each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    found.append({"on": on} | {key: each.getsockopt(socket.IPPROTO_TCP, value) for key, value in wanted.items()})
    finally:
        os.close(handle)
    return found
