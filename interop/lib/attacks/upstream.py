"""Upstreams of the bridge, in a separate process: RFC 6455, and a strict RFC 8441.

The strict one has hyper's default limits: a header list of 16 KiB, and twenty
resets of requests that were read in the same poll of the connection. Beyond
either it ends the connection for all clients that share it. The busy one polls
every 10 ms. Run as a program, this file is that process: it prints its port,
and a report for each line on stdin.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hpack import Decoder

from lib.attacks import frames as f

LIST, PENDING_RESETS = 16384, 20
KEPT = 400
ANSWER, LOOK = 0.02, 0.01


class Report:
    def __init__(self):
        self.connections = self.open = self.resets = self.head_bytes = self.requests = 0
        self.heads: list[str] = []
        self.ends: list[str] = []

    def head(self, text: str) -> None:
        self.requests += 1
        self.head_bytes += len(text)
        if len(self.heads) < KEPT:
            self.heads.append(text)


class Echo:
    """Echoes messages, and answers Ping and Close."""

    def __init__(self):
        self._messages = f.Messages()

    def feed(self, received: bytes) -> tuple[bytes, bool]:
        out, over = [], False
        for opcode, fin, payload in self._messages.feed(received):
            if opcode == 8:
                over = True
            out.append(f.ws(payload, {9: 10}.get(opcode, opcode), fin, mask=False))
        return b"".join(out), over


async def http1(reader, writer, report: Report) -> None:
    report.connections += 1
    report.open += 1
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            text = head.decode("latin-1")
            report.head(text)
            lines = text.split("\r\n")
            fields = [line.partition(":") for line in lines[1:] if line]
            field = {name.strip().lower(): value.strip() for name, _, value in fields}
            path = lines[0].split(" ")[1] if lines[0].count(" ") >= 2 else ""
            if "/silent" in path:
                await asyncio.sleep(60)
            if field.get("upgrade", "").lower() == "websocket" and "/refuse" not in path:
                key = field.get("sec-websocket-key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
                writer.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
                echo = Echo()
                while received := await reader.read(1 << 16):
                    answer, over = echo.feed(received)
                    writer.write(answer)
                    await writer.drain()
                    if over:
                        return
                return
            if "chunked" in field.get("transfer-encoding", "").lower():
                while True:
                    size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
                    await reader.readexactly(size + 2)
                    if not size:
                        break
            elif field.get("content-length", "").isdigit():
                await reader.readexactly(int(field["content-length"]))
            status = "403 Forbidden" if "/refuse" in path else "200 OK"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError):
        pass
    finally:
        report.open -= 1
        writer.close()


class Strict:
    """One HTTP/2 connection of a strict server."""

    def __init__(self, reader, writer, report: Report, busy: bool):
        self._reader, self._writer, self._report, self._busy = reader, writer, report, busy
        self._decoder = Decoder(max_header_list_size=1 << 24)
        self._echoes: dict[int, Echo] = {}
        self._new: dict[int, dict] = {}
        self._reset = 0
        self._gone: set[int] = set()
        self._pieces = bytearray()

    async def run(self) -> None:
        write = self._writer.write
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await self._reader.readexactly(24)
            write(f.settings({f.MAX_STREAMS: 2000, f.INITIAL_WINDOW: 1 << 20, f.MAX_LIST: LIST, f.CONNECT: 1})
                  + f.window(0, (1 << 31) - 1 - 65535))
            buffer = bytearray()
            while not self._writer.is_closing() and (received := await self._reader.read(1 << 20)):
                buffer += received
                at = 0
                while len(buffer) - at >= 9 + (size := int.from_bytes(buffer[at:at + 3], "big")):
                    end = at + 9 + size
                    self._take(buffer[at + 3], buffer[at + 4], int.from_bytes(buffer[at + 5:at + 9], "big"), bytes(buffer[at + 9:end]))
                    at = end
                del buffer[:at]
                for stream, fields in self._new.items():
                    asyncio.get_running_loop().call_later(ANSWER, self._answer, stream, fields)
                self._new, self._reset = {}, 0
                await self._writer.drain()
                if self._busy:
                    await asyncio.sleep(LOOK)

    def _end(self, why: str) -> None:
        self._report.ends.append(why)
        self._writer.write(f.goaway(0, 11, why.encode()))
        self._writer.close()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        write = self._writer.write
        if kind in (f.HEADERS, f.CONTINUATION):
            if kind == f.HEADERS:
                self._pieces = bytearray()
                if flags & f.PADDED:
                    payload = payload[1:len(payload) - payload[0]]
                if flags & f.PRIORITIZED:
                    payload = payload[5:]
            self._pieces += payload
            if flags & f.END_HEADERS:
                self._request(stream, self._decoder.decode(bytes(self._pieces)))
        elif kind == f.DATA:
            if payload:
                write(f.window(stream, len(payload)) + f.window(0, len(payload)))
            if echo := self._echoes.get(stream):
                answer, over = echo.feed(payload)
                for at in range(0, len(answer), 16384):
                    write(f.data(stream, answer[at:at + 16384]))
                if over or flags & f.END_STREAM:
                    write(f.data(stream, end=True))
                    del self._echoes[stream]
        elif kind == f.RST:
            self._report.resets += 1
            self._echoes.pop(stream, None)
            if self._new.pop(stream, None):
                self._reset += 1
                if self._reset > PENDING_RESETS:
                    self._end("too_many_resets")
            self._gone.add(stream)
        elif kind == f.SETTINGS and not flags & f.ACK:
            write(f.settings(ack=True))
        elif kind == f.PING and not flags & f.ACK:
            write(f.ping(payload, ack=True))

    def _request(self, stream: int, fields: list) -> None:
        size = sum(len(name) + len(value) + 32 for name, value in fields)
        self._report.head("\r\n".join(f"{name}: {value}" for name, value in fields))
        if size > LIST:
            self._end("header_list_way_too_large")
            return
        self._new[stream] = dict(fields)

    def _answer(self, stream: int, fields: dict) -> None:
        if stream in self._gone or self._writer.is_closing():
            return
        self._echoes[stream] = Echo()
        self._writer.write(f.headers(stream, [(":status", "200")], end=":protocol" not in fields))


async def main(kind: str) -> None:
    report = Report()

    async def handle(reader, writer) -> None:
        if kind == "h1":
            await http1(reader, writer, report)
            return
        report.connections += 1
        report.open += 1
        try:
            await Strict(reader, writer, report, kind == "busy").run()
        finally:
            report.open -= 1
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while await commands.readline():
        print(json.dumps(vars(report)), flush=True)


class Upstream:
    """A handle to that process."""

    def __init__(self, kind: str):
        self.process = subprocess.Popen([sys.executable, __file__, kind],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = int(self.process.stdout.readline())

    def report(self) -> dict:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
