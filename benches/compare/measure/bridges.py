"""The bridges to compare, and how to start each."""

import resource
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


@dataclass
class Bridge:
    """A program that accepts RFC 8441 in cleartext and forwards to an RFC 6455 server.

    `start` takes a directory, the server's HOST:PORT, a number of threads and a file for stderr. It returns
    the process and its HOST:PORT as soon as the program accepts connections.
    """

    name: str
    start: object
    version: list


def h2ws(_directory, backend, threads, stderr):
    command = [str(H2WS), "bridge", "--listen", "127.0.0.1:0", "--cleartext", "--to", f"ws://{backend}",
               "--upstream-http1", "--max-concurrent-streams", str(STREAMS), "--threads", str(threads)]
    process = launch(command, stderr, stdout=subprocess.PIPE)
    try:
        return process, first_line(process).split("://")[1].rstrip("/")
    except BaseException:
        stop(process)
        raise


def nghttpx(_directory, backend, threads, stderr):
    host, port = backend.split(":")
    own_port = free_port()
    # Uses a single process, so that its memory and CPU time are those of the whole bridge.
    return listening(launch([
        "nghttpx", "--conf=/dev/null", "--single-process", f"--workers={threads}", "--backlog=4096",
        f"--frontend=127.0.0.1,{own_port};no-tls", f"--backend={host},{port}",
        f"--frontend-http2-max-concurrent-streams={STREAMS}", f"--frontend-http2-window-size={STREAM_WINDOW}",
        f"--frontend-http2-connection-window-size={CONNECTION_WINDOW}",
        "--frontend-read-timeout=600s", "--frontend-http2-read-timeout=600s",
        "--backend-read-timeout=600s", "--backend-write-timeout=600s", "--log-level=ERROR",
        "--errorlog-file=/dev/stderr", "--accesslog-file=/dev/null",
    ], stderr), own_port)


def haproxy(directory, backend, threads, stderr):
    own_port = free_port()
    config = directory / "haproxy.cfg"
    # HAProxy does not start if it lacks the descriptors for both sides of this many connections.
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    config.write_text(HAPROXY.format(threads=threads, port=own_port, backend=backend, streams=STREAMS,
                                     window=STREAM_WINDOW, connections=min(STREAMS, (files - 500) // 2)))
    return listening(launch(["haproxy", "-q", "-db", "-f", str(config)], stderr), own_port)


BRIDGES = [
    Bridge("h2ws", h2ws, [str(H2WS), "--version"]),
    Bridge("nghttpx", nghttpx, ["nghttpx", "--version"]),
    Bridge("HAProxy", haproxy, ["haproxy", "-v"]),
]


def backend(stderr):
    """Starts the echo server on fastwebsockets, and returns the process and its HOST:PORT."""
    process = launch([str(BIN / "fastws-echo"), "--listen", "127.0.0.1:0"], stderr, stdout=subprocess.PIPE)
    try:
        return process, first_line(process)
    except BaseException:
        stop(process)
        raise


def launch(command, stderr, stdout=subprocess.DEVNULL):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True)


def stop(process):
    process.kill()
    process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(process, port):
    """Waits until the process accepts connections, for 10 seconds."""
    for _ in range(500):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, f"127.0.0.1:{port}"
        except OSError:
            time.sleep(0.02)
    stop(process)
    raise RuntimeError(f"{process.args[0]} does not listen on port {port}")
