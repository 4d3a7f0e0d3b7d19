"""Well-behaved sockets, whose round trips are measured before and during an attack.

`Beside` is a socket on the attacker's own connection. `Neighbour` is a socket
on a separate connection in a separate process, so that CPU time spent on the
attack in Python does not slow it down. Run as a program, this file is that
process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.attacks import frames as f
from lib.attacks.raw import H1, H2, Gone

# After this many seconds a message counts as lost.
LOST_AFTER = 12.0
PAUSE = 0.005
# Red: a median above TIMES the quiet median and above FLOOR seconds.
TIMES, FLOOR = 10, 0.02
# Also red: a single round trip of this many seconds, which the median would hide.
STALL = 2.5


@dataclass
class Trips:
    """Round trips of one phase."""

    seconds: list[float] = field(default_factory=list)
    lost: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def worst(self) -> float | None:
        return max(self.seconds) if self.seconds else None


def fault(quiet: Trips, during: Trips, times: float = TIMES) -> str | None:
    """The reason why the round trips are red, or None."""
    if quiet.lost or during.lost:
        return f"lost: {quiet.lost or during.lost}"
    if not quiet.seconds or not during.seconds:
        return "no round trip was finished"
    if during.median > max(times * quiet.median, FLOOR):
        return f"slowed down from {quiet.median * 1000:.1f} to {during.median * 1000:.1f} ms"
    if during.worst > STALL:
        return f"slowed down: one round trip took {during.worst:.1f} s"
    return None


class Beside:
    """A socket that sends messages from a thread of its own."""

    def __init__(self, exchange, pause: float = PAUSE):
        """`exchange` sends one message and returns once it is answered, or raises `Gone`."""
        self._exchange, self._pause = exchange, pause
        self._trips = Trips()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._began: float | None = None
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self) -> None:
        while not self._over.is_set():
            self._began = began = time.perf_counter()
            try:
                self._exchange()
            except Gone as error:
                with self._lock:
                    if not self._over.is_set():
                        self._trips.lost = str(error)
                return
            with self._lock:
                self._trips.seconds.append(time.perf_counter() - began)
            self._began = None
            time.sleep(self._pause)

    def phase(self) -> Trips:
        """The round trips since the last call. A long one in progress counts with its duration so far."""
        with self._lock:
            done, self._trips = self._trips, Trips(lost=self._trips.lost)
            began = self._began
            if began and time.perf_counter() - began > FLOOR:
                done.seconds.append(time.perf_counter() - began)
            return done

    def stop(self) -> None:
        self._over.set()


def over_h2(connection: H2, stream: int):
    """An exchange of an echoed message on this stream."""
    messages, answers, number = f.Messages(), [], [0]
    connection.listen(stream, lambda body: answers.extend(messages.feed(body)))

    def exchange() -> None:
        number[0] += 1
        wanted = b"%d" % number[0]
        connection.send(f.data(stream, f.ws(wanted, 1)), LOST_AFTER)
        known = connection[stream]

        def there() -> bool:
            return any(payload == wanted for _, _, payload in answers) or known.over

        connection.until(there, LOST_AFTER)
        if known.over or not there():
            raise Gone(f"socket of stream {stream}: {known}, {connection.end()}" if known.over or connection.closed
                       else f"no answer within {LOST_AFTER:g} s")
        answers.clear()

    return exchange


def by_ping(connection: H2, stream: int):
    """An exchange of Ping and Pong, as a server. Messages of the client are echoed, as it may expect."""
    messages, pongs, number = f.Messages(), [], [0]

    def take(body: bytes) -> None:
        for one in messages.feed(body):
            opcode, fin, payload = one
            if opcode == 10:
                pongs.append(payload)
            elif opcode in (0, 1, 2):
                connection.send(f.data(stream, f.ws(payload, opcode, fin, mask=False, rsv=one.rsv)))

    connection.listen(stream, take)

    def exchange() -> None:
        number[0] += 1
        wanted = b"%d" % number[0]
        connection.send(f.data(stream, f.ws(wanted, 9, mask=False)), LOST_AFTER)
        known = connection[stream]
        connection.until(lambda: wanted in pongs or known.over, LOST_AFTER)
        if wanted not in pongs:
            raise Gone(f"socket of stream {stream}: {known}, {connection.end()}")
        pongs.clear()

    return exchange


def over_h1(socket: H1):
    number = [0]

    def exchange() -> None:
        number[0] += 1
        wanted = b"%d" % number[0]
        socket.send(f.ws(wanted, 1))
        until = time.monotonic() + LOST_AFTER
        while (got := socket.message(until - time.monotonic())) is not None:
            if got[2] == wanted:
                return
            if got[0] == 8:
                raise Gone(f"close {int.from_bytes(got[2][:2], 'big')}")
        raise Gone(f"connection closed ({socket.tcp.why})" if socket.tcp.closed else f"no answer within {LOST_AFTER:g} s")

    return exchange


class Neighbour:
    """A socket in a separate process."""

    def __init__(self, name: str, port: int, http1: bool = False, path: str = "/"):
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port), "h1" if http1 else "h2", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"lost": "its process ended"}

    def phase(self) -> Trips:
        if self._process.poll() is None:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        answer = self._answer()
        return Trips(answer.get("seconds", []), answer.get("lost"))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def main(port: int, version: str, path: str) -> None:
    try:
        if version == "h1":
            socket = H1(port, path)
            if socket.status != 101:
                raise Gone(f"status {socket.status}")
            talk = Beside(over_h1(socket))
        else:
            connection = H2(port)
            talk = Beside(over_h2(connection, connection.open(path)))
        print("{}", flush=True)
    except (Gone, OSError) as error:
        print(json.dumps({"lost": f"not opened: {error}"}), flush=True)
        return
    for _ in sys.stdin:
        trips = talk.phase()
        print(json.dumps({"seconds": trips.seconds, "lost": trips.lost}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
