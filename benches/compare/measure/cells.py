"""Measures one peer under one load."""

import json
import os
import select
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
BIN = HERE / "target" / "release"
H2WS = Path(os.environ.get("H2WS", HERE.parent.parent / "target" / "release" / "h2ws"))
# Seconds for which the sockets are idle before memory is measured.
IDLE_SECONDS = 0.5
# How many times longer than others a row of these kinds runs. A slow hundredth of the messages of a
# second is what one hiccup of the machine delays.
LONGER = {"paced": 3, "million": 5}
# What makes a peer, or h2ws, use a single-threaded runtime.
ONE_THREAD = (["--runtime", "current"], ["--threads", "1"])


def once(row, peer, seconds, pinned):
    """Runs one load against a new server, and returns the row's result with all other values.

    Pinned means one thread and one core for each side, which gives the most stable results.
    """
    one_thread = lambda words: words + (ONE_THREAD[words[0] == str(H2WS)] if pinned else [])
    spawn = lambda words, core, stderr: start(one_thread(words), core if pinned else None, stderr)
    with tempfile.TemporaryFile("w+") as stderr:
        server = spawn(server_command(row, peer), 0, stderr)
        try:
            address = first_line(server)
            loads = [spawn(beside_command(row, peer, seconds, address), 1, stderr)] if row.beside else []
            loads.insert(0, spawn(client_command(row, peer, seconds, address, server.pid), 1, stderr))
            load = loads[0]
            try:
                out, _ = load.communicate(timeout=600 if row.kind == "million" else 60 + 4 * seconds)
                if any(other.poll() for other in loads[1:]):
                    raise RuntimeError("the second load failed")
            finally:
                for each in loads:
                    each.kill()
                    each.wait()
        finally:
            server.kill()
            server.wait()
        if load.returncode != 0:
            stderr.seek(0)
            raise RuntimeError(f"exit {load.returncode}: {stderr.read().strip()[-300:]}")
    sample = sampled(json.loads(out.strip().splitlines()[-1]))
    sample["figure"] = figure(row, sample)
    return sample


def server_command(row, peer):
    words = program(peer.server) + ["--listen", "127.0.0.1:0"]
    if peer.server[0] == "h2ws":
        return words + ["--max-concurrent-streams", "200000", "--max-connections", "50000"]
    return words + portion(row, words)


def client_command(row, peer, seconds, address, pid):
    quiet = row.kind in ("open", "memory")
    longer = LONGER.get(row.kind, 1)
    words = ["--sockets", str(row.sockets), "--in-flight", str(row.in_flight), "--size", str(row.size),
             "--duration", str(0.2 if quiet else longer * seconds),
             "--rest", str(IDLE_SECONDS if row.kind in ("memory", "million") else 0), "--server-pid", str(pid)]
    if peer.bench:
        words += ["--opening", opening(row, peer), "--json", *row.extra]
        if row.rate:
            words += ["--rate", str(row.rate)]
        return [*program(peer.client), url(address), *words]
    words = [*program(peer.client), "--url", address, *words]
    return words + portion(row, words)


def url(address):
    return address if "://" in address else f"ws://{address}/echo"


def portion(row, words):
    """How much a tuned peer reads at a time: a quarter of the bytes in flight, if that is worth the system calls.
    h2ws has to find out this value by itself."""
    if not {"tuned", "inline", "driver"}.intersection(words):
        return []
    streams = row.sockets // 4
    at_a_time = row.in_flight * (row.size + 8) + 9
    return ["--portion", str(min(32 << 10, at_a_time * min(streams, 32)) if streams >= 10 else 32 << 10)]


def beside_command(row, peer, seconds, address):
    """The second load, which starts before the first and would run much longer."""
    return [*program(peer.client), url(address), *row.beside, "--duration", str(60 + 4 * seconds), "--json"]


def opening(row, peer):
    """The number of concurrent handshakes. Memory that many of them leave allocated would count as that of the
    sockets, and a thousand TCP connections would overflow the listener's backlog."""
    return "64" if row.kind == "memory" or "--http1" in peer.client else "1000"


def program(words):
    return [str(H2WS if words[0] == "h2ws" else BIN / words[0]), *words[1:]]


def start(command, core, stderr):
    pin = None
    if core is not None:
        cores = sorted(os.sched_getaffinity(0))
        mine = {cores[core % len(cores)]}
        pin = lambda: os.sched_setaffinity(0, mine)
    return subprocess.Popen(command, preexec_fn=pin, text=True, stdout=subprocess.PIPE, stderr=stderr)


def first_line(server):
    """Returns the address or URL from the line `listening on ADDR` or `listening on URL`."""
    readable, _, _ = select.select([server.stdout], [], [], 20)
    line = server.stdout.readline() if readable else ""
    if not line.startswith("listening on "):
        raise RuntimeError(f"the server printed {line!r}")
    return line.split()[-1]


def sampled(report):
    """Renames the values, so that the names are the same for every client."""
    if "client_memory" in report and isinstance(report["client_memory"], dict):
        for end in ("client", "server"):
            memory, sockets = report.pop(f"{end}_memory"), report["sockets"]
            report[f"{end}_bytes_per_idle_socket"] = (memory["open"] - memory["before"]) / sockets
            report[f"{end}_bytes_per_socket_after"] = (memory["after"] - memory["before"]) / sockets
            report[f"{end}_memory"] = memory["after"]
    messages = report["messages"]
    for end in ("client", "server"):
        cpu = report[f"{end}_cpu_seconds"]
        report[f"{end}_us_per_message"] = cpu / messages * 1e6 if messages else None
    return report


def figure(row, sample):
    server = sample["server_cpu_seconds"]
    both = server + sample["client_cpu_seconds"]
    if row.kind in ("core", "grow") and not (server and sample["messages"]):
        raise RuntimeError("the run was too short: no CPU time was measured")
    return {
        "rate": lambda: sample["messages_per_second"],
        # An echoed message counts once; the CPU time of both processes is added up.
        "core": lambda: sample["messages"] / both,
        "open": lambda: sample["opened_per_second"],
        "memory": lambda: sample["server_bytes_per_idle_socket"],
        "grow": lambda: both / sample["messages"] * 1e6,
        "paced": lambda: sample["latency"]["p99_us"],
        "million": lambda: sample["open_seconds"],
    }[row.kind]()
