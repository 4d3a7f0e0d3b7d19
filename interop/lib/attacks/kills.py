"""kill -9 of each part under load: others continue, capacity is released, and nothing hangs."""

from __future__ import annotations

import time

from . import frames as f
from .target import Target, wait_for
from .context import row


@row("server", limit=25)
def killed_client(t):
    """kill -9 of a client with 500 active sockets: its capacity is released, others are unaffected."""
    load = t.start("bench", "--http2", "--sockets", "500", "--duration", "20", f"ws://127.0.0.1:{t.port}/", stdout=-3)
    time.sleep(2.5)
    before = t.target.descriptors()
    load.kill()
    back = wait_for(lambda: t.target.descriptors() < before, 5)
    t.got("killed; its connection is released" if back else "killed")
    t.want(back, "its connection is not released within 5 s")


@row("bridge", upstream="serve", limit=30, mortal=True, quick=True)
def killed_upstream(t):
    """A1: kill -9 of the upstream under 200 sockets: all end at once, and capacity is released."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    streams = c.open_many(200)
    c.send(b"".join(f.data(s, f.ws(b"hello", 1)) for s in streams))
    c.until(lambda: all(c[s].received for s in streams), 5)
    began = time.monotonic()
    t.upstreams[0].kill()
    c.until(lambda: all(c[s].over for s in streams), 8)
    took = time.monotonic() - began
    over = sum(c[s].over for s in streams)
    stream = c.ask(f.connect_fields(c.authority))
    c.until(lambda: c[stream].status or c[stream].over, 8)
    t.got(f"{over} of {len(streams)} ended within {took:.1f} s, then {c[stream]}; {c.end()}")
    t.want(over == len(streams), "some sockets never end")
    t.want((c[stream].status or 0) >= 500, "no 502 or 503")


@row("bridge", "--max-sockets", "230", upstream="serve", limit=30, mortal=True)
def killed_upstream_of_idle_clients(t):
    """A1: clients that do not end their side after the upstream died: their capacity is free for new sockets."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    streams = c.open_many(225)
    t.upstreams[0].kill()
    c.until(lambda: all(c[s].over for s in streams), 5)
    # The old streams stay silent; a new one gets 502 (no upstream), not 503 (limit reached).
    other = t.connect()
    until, said = time.monotonic() + 5, None
    while time.monotonic() < until and said not in (502, 504):
        stream = other.ask(f.connect_fields(other.authority))
        other.until(lambda: other[stream].status or other[stream].over, 5)
        said = other[stream].status
        body = bytes(other[stream].data)
        time.sleep(0.2)
    t.got(f"{sum(c[s].over for s in streams)} of 225 ended, then {said} {body[:40].decode(errors='replace')}")
    t.want(sum(c[s].over for s in streams) == 225, "sockets of a dead upstream are not ended")


@row("bridge", upstream="serve", limit=30, mortal=True)
def killed_bridge(t):
    """kill -9 of the bridge under load: upstream and client detect it at once."""
    before = t.upstreams[0].descriptors()
    load = t.start("bench", "--http2", "--sockets", "200", "--duration", "20", f"ws://127.0.0.1:{t.port}/", stdout=-3)
    time.sleep(2.5)
    t.target.kill()
    status = load.ended(15)
    back = wait_for(lambda: t.upstreams[0].descriptors() < before, 5)
    t.got(f"the client ends with {status}")
    t.want(status is not None and status != 0, f"the client's exit status is {status}")
    t.want(back, "the upstream keeps the connection of a dead bridge")


@row("bridge", upstream="serve", limit=25, quick=True)
def killed_client_of_a_bridge(t):
    """kill -9 of one of two clients that share the upstream's connection."""
    load = t.start("bench", "--http2", "--sockets", "200", "--duration", "20", f"ws://127.0.0.1:{t.port}/", stdout=-3)
    time.sleep(2.5)
    before = t.target.descriptors()
    load.kill()
    back = wait_for(lambda: t.target.descriptors() < before, 5)
    t.got("killed; its connection is released" if back else "killed")
    t.want(back, "its connection is not released within 5 s")


@row("client", limit=30)
def killed_server(t):
    """kill -9 of the server under load: the client ends with an error, and does not hang."""
    server = Target([t.program, "serve", "--cleartext", "--listen", "127.0.0.1:0"], t.dir / "server.log", tied=False)
    t._children.append(server)
    port = server.port()
    load = t.start("bench", "--http2", "--sockets", "200", "--duration", "20", f"ws://127.0.0.1:{port}/", stdout=-3)
    time.sleep(2.5)
    t.mark()
    server.kill()
    status = load.ended(15)
    t.got(f"the client ends with {status}: {load.tail()[-60:]!r}")
    t.want(status not in (None, 0), f"the client's exit status is {status}")


@row("server", limit=25, memory=320)
def stopped_client(t):
    """SIGSTOP of a client with 200 bulk sockets: the memory held for it is bounded, others continue."""
    import signal
    load = t.start("bench", "--http2", "--sockets", "10", "--bulk", "200", "--duration", "20", f"ws://127.0.0.1:{t.port}/", stdout=-3)
    time.sleep(2)
    load.kill(signal.SIGSTOP)
    time.sleep(4)
    t.got("stopped for 4 s")
    load.kill()
