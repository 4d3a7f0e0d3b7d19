"""Runs one peer under one load, and takes its figures."""

import json
import os
import select
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
BIN = HERE / "target" / "release"
H2WS = Path(os.environ.get("H2WS", HERE.parent.parent / "target" / "release" / "h2ws"))
# How long silent sockets rest before their memory is read.
REST = 0.5


def once(row, peer, seconds):
    """A fresh server, one load; the row's figure and what else was seen."""
    with tempfile.TemporaryFile("w+") as complaints:
        server = spawn(server_command(row, peer), row, 0, complaints)
        try:
            address = first_line(server)
            loads = [spawn(beside_command(row, peer, seconds, address), row, 1, complaints)] if row.beside else []
            loads.insert(0, spawn(client_command(row, peer, seconds, address, server.pid), row, 1, complaints))
            load = loads[0]
            try:
                out, _ = load.communicate(timeout=600 if row.kind == "million" else 60 + 4 * seconds)
                if any(other.poll() for other in loads[1:]):
                    raise RuntimeError("the load beside it failed")
            finally:
                for each in loads:
                    each.kill()
                    each.wait()
        finally:
            server.kill()
            server.wait()
        if load.returncode != 0:
            complaints.seek(0)
            raise RuntimeError(f"exit {load.returncode}: {complaints.read().strip()[-300:]}")
    sample = sampled(json.loads(out.strip().splitlines()[-1]))
    sample["figure"] = figure(row, sample)
    return sample


def server_command(row, peer):
    words = program(peer.server) + ["--listen", "127.0.0.1:0"]
    if peer.server[0] == "h2ws":
        return words + ["--max-concurrent-streams", "200000", "--max-connections", "50000"] + (
            ["--threads", "1"] if row.pinned else [])
    return words + portion(row, words) + (["--runtime", "current"] if row.pinned else [])


def client_command(row, peer, seconds, address, pid):
    quiet = row.kind in ("open", "memory")
    words = ["--sockets", str(row.sockets), "--in-flight", str(row.in_flight), "--size", str(row.size),
             "--duration", str(0.2 if quiet else 5 * seconds if row.kind == "million" else seconds),
             "--rest", str(REST if row.kind in ("memory", "million") else 0), "--server-pid", str(pid)]
    if peer.bench:
        words += ["--opening", opening(row, peer), "--json", *row.extra]
        return [*program(peer.client), address, *words] + (["--threads", "1"] if row.pinned else [])
    words = [*program(peer.client), "--url", address, *words]
    return words + portion(row, words) + (["--runtime", "current"] if row.pinned else [])


def portion(row, words):
    """What a tuned peer reads at a time. It is told what ours has to find out: a quarter of what is in flight,
    as far as that is worth the system calls."""
    if not {"tuned", "inline", "driver"}.intersection(words):
        return []
    streams = row.sockets // 4
    at_a_time = row.in_flight * (row.size + 8) + 9
    return ["--portion", str(min(32 << 10, at_a_time * min(streams, 32)) if streams >= 10 else 32 << 10)]


def beside_command(row, peer, seconds, address):
    """Begins before the other, and would end long after it."""
    return [*program(peer.client), address, *row.beside, "--duration", str(60 + 4 * seconds), "--json"]


def opening(row, peer):
    """At a time. Many handshakes at once leave room behind, which would be taken for the sockets' memory; a
    thousand TCP ones would overrun the listener's backlog."""
    return "64" if row.kind == "memory" or "--http1" in peer.client else "1000"


def program(words):
    return [str(H2WS if words[0] == "h2ws" else BIN / words[0]), *words[1:]]


def spawn(command, row, core, complaints):
    pin = None
    if row.pinned:
        cores = sorted(os.sched_getaffinity(0))
        mine = {cores[core % len(cores)]}
        pin = lambda: os.sched_setaffinity(0, mine)
    return subprocess.Popen(command, preexec_fn=pin, text=True, stdout=subprocess.PIPE, stderr=complaints)


def first_line(server):
    """`listening on ADDR` or `listening on URL`."""
    readable, _, _ = select.select([server.stdout], [], [], 20)
    line = server.stdout.readline() if readable else ""
    if not line.startswith("listening on "):
        raise RuntimeError(f"the server said {line!r}")
    return line.split()[-1]


def sampled(said):
    """The same names, whichever client said it."""
    if "client_memory" in said and isinstance(said["client_memory"], dict):
        for end in ("client", "server"):
            memory, sockets = said.pop(f"{end}_memory"), said["sockets"]
            said[f"{end}_bytes_per_idle_socket"] = (memory["open"] - memory["before"]) / sockets
            said[f"{end}_bytes_per_socket_after"] = (memory["after"] - memory["before"]) / sockets
            said[f"{end}_memory"] = memory["after"]
    messages = said["messages"]
    for end in ("client", "server"):
        cpu = said[f"{end}_cpu_seconds"]
        said[f"{end}_us_per_message"] = cpu / messages * 1e6 if messages else None
    return said


def figure(row, sample):
    server = sample["server_cpu_seconds"]
    both = server + sample["client_cpu_seconds"]
    if row.kind in ("core", "cpu", "grow") and not (server and sample["messages"]):
        raise RuntimeError("too short a run: no CPU time was seen")
    return {
        "rate": lambda: sample["messages_per_second"],
        # A message there and back counts once, the time of both processes in full.
        "core": lambda: sample["messages"] / both,
        "open": lambda: sample["opened_per_second"],
        "memory": lambda: sample["server_bytes_per_idle_socket"],
        "cpu": lambda: sample["server_us_per_message"],
        "grow": lambda: both / sample["messages"] * 1e6,
        "p99": lambda: sample["latency"]["p99_us"],
        "million": lambda: sample["open_seconds"],
    }[row.kind]()
