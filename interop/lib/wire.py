"""Captures of loopback traffic, decrypted and dissected by tshark.

tshark 4.0 shows the payload of an extended CONNECT only as "tunneled data".
So it runs twice: on the capture, for HTTP/2, and then on the bytes of each
tunnel, wrapped in an HTTP/1.1 Upgrade that its WebSocket dissector understands.
No frame is parsed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from . import install
from .sandbox import NotRun, Sandbox, run

DATA, HEADERS, RST_STREAM, GOAWAY = 0, 1, 3, 7
END_STREAM = 0x1


@dataclass
class Frame:
    """An HTTP/2 frame."""

    from_client: bool
    type: int
    stream: int
    flags: int
    headers: list[tuple[str, str]]
    data: bytes


@dataclass
class Message:
    """A WebSocket frame, as dissected by tshark."""

    from_client: bool
    fin: bool
    rsv: int
    opcode: int
    masked: bool
    key: str
    payload: bytes


@dataclass
class Seen:
    """The traffic of one connection."""

    frames: list[Frame] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def of(self, stream: int, type: int, from_client: bool | None = None) -> list[Frame]:
        return [f for f in self.frames if f.stream == stream and f.type == type and from_client in (None, f.from_client)]

    def tunnels(self) -> list[int]:
        """Streams opened by an extended CONNECT (RFC 8441 §4)."""
        return sorted({f.stream for f in self.frames if f.from_client and dict(f.headers).get(":protocol") == "websocket"})


@contextlib.asynccontextmanager
async def capture(sandbox: Sandbox, port: int):
    """Captures traffic of this port until the context exits. Yields the file."""
    install.debian("tshark")
    file = sandbox.dir / "capture.pcapng"
    file.unlink(missing_ok=True)
    file.touch()
    child = await sandbox.spawn("tshark", "-q", "-B", "64", "-i", "lo", "-f", f"tcp port {port}", "-w", file)
    for _ in range(600):
        if "Capture started" in child.log.read_text() or not child.running:
            break
        await asyncio.sleep(0.05)
    if not child.running:
        raise NotRun(f"tshark did not start capturing: {child.tail()}")
    try:
        yield file
        await _whole(file)
    finally:
        await child.stop()


async def _whole(file: Path) -> None:
    """Waits until both ends of the connection are in the file: the kernel delivers packets late."""
    for _ in range(40):
        _, out, _ = await run("tshark", "-r", file, "-Y", "tcp.flags.fin == 1 || tcp.flags.reset == 1")
        if len(out.splitlines()) >= 2:
            return
        await asyncio.sleep(0.25)
    raise AssertionError("the capture does not contain the end of the connection")


async def _pdml(file: Path, *options: str) -> list[ElementTree.Element]:
    status, out, err = await run("tshark", "-r", file, "-T", "pdml", *options)
    if status:
        raise AssertionError(f"tshark: {err.strip()[-300:]}")
    return list(ElementTree.fromstring(out))


def _number(element, name: str, default: int = 0) -> int:
    found = element.find(f".//field[@name='{name}']")
    return int(found.get("show"), 0) if found is not None else default


def _flag(element, name: str) -> bool:
    """The PDML of tshark 4.0 has booleans as 1 and 0, that of later versions as True and False."""
    found = element.find(f".//field[@name='{name}']")
    return found is not None and found.get("show") in ("1", "True")


def _complaints(packet) -> list[str]:
    """Malformed packets, and errors reported by the dissectors."""
    found = [f"malformed: {proto.get('showname')}" for proto in packet.iter("proto") if proto.get("name") == "_ws.malformed"]
    for expert in packet.iter("field"):
        if expert.get("name") != "_ws.expert":
            continue
        severity = _number(expert, "_ws.expert.severity")
        if severity >= 0x800000:
            found.append(expert.get("showname") or "an error")
    return found


async def dissect(file: Path, keys: Path, port: int) -> Seen:
    """Dissects HTTP/2 inside TLS."""
    seen = Seen()
    for packet in await _pdml(file, "-o", f"tls.keylog_file:{keys}", "-d", f"tcp.port=={port},tls", "-Y", "http2"):
        seen.complaints += _complaints(packet)
        from_client = _number(packet, "tcp.dstport") == port
        for stream in packet.iterfind("proto[@name='http2']/field[@name='http2.stream']"):
            if stream.find("field[@name='http2.magic']") is not None:
                continue
            data = stream.find("field[@name='http2.data.data']")
            headers = [(_show(h, "http2.header.name"), _show(h, "http2.header.value"))
                       for h in stream.iterfind("field[@name='http2.header']")]
            seen.frames.append(Frame(
                from_client, _number(stream, "http2.type"), _number(stream, "http2.streamid"),
                _number(stream, "http2.flags"), headers, bytes.fromhex(data.get("value") or "") if data is not None else b""))
    return seen


def _show(element, name: str) -> str:
    found = element.find(f"field[@name='{name}']")
    return found.get("show") if found is not None else ""


REQUEST = (
    "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Version: 13\r\n"
)
ANSWER = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def _handshake(seen: Seen, stream: int, from_client: bool) -> bytes:
    """One half of an Upgrade, with the extensions of the tunnel, which tshark needs to inflate messages."""
    headers = dict(seen.of(stream, HEADERS, from_client)[0].headers)
    extensions = headers.get("sec-websocket-extensions")
    line = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    return f"{REQUEST if from_client else ANSWER}{line}\r\n".encode()


async def websocket(seen: Seen, stream: int, scratch: Path) -> tuple[list[Message], list[str]]:
    """The WebSocket frames of one tunnel, and tshark's complaints."""
    tunnel = [(f.from_client, f.data) for f in seen.of(stream, DATA) if f.data]
    handshake = [(from_client, _handshake(seen, stream, from_client)) for from_client in (True, False)]
    scratch.write_bytes(_pcap([*handshake, *tunnel]))
    return _messages(await _pdml(scratch, "-d", "tcp.port==8080,http", "-Y", "websocket"), 8080)


async def upgraded(file: Path, port: int) -> tuple[list[Message], list[str]]:
    """The WebSocket frames after an HTTP/1.1 Upgrade in a cleartext capture, and tshark's complaints."""
    return _messages(await _pdml(file, "-d", f"tcp.port=={port},http", "-Y", "websocket"), port)


def _messages(packets: list, port: int) -> tuple[list[Message], list[str]]:
    messages, complaints = [], []
    for packet in packets:
        complaints += _complaints(packet)
        from_client = _number(packet, "tcp.dstport") == port
        for frame in packet.iterfind("proto[@name='websocket']"):
            # The parts of the unmasked payload: a text, or a close code and its reason.
            parts = frame.findall("field[@name='websocket.payload']//field")
            raw = bytes.fromhex("".join(p.get("value") or "" for p in parts if p.find("field") is None))
            key = frame.find(".//field[@name='websocket.masking_key']")
            messages.append(Message(
                from_client, _flag(frame, "websocket.fin"), _number(frame, "websocket.rsv"),
                _number(frame, "websocket.opcode"), _flag(frame, "websocket.mask"),
                key.get("value") if key is not None else "", raw))
    return messages, complaints


def _pcap(segments: list[tuple[bool, bytes]]) -> bytes:
    """A capture file (LINKTYPE_RAW) with one TCP connection between ports 1025 and 8080."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101)]
    sequence, clock = defaultdict(lambda: 1), 0
    for from_client, data in segments:
        for at in range(0, len(data), 16_000):
            part = data[at:at + 16_000]
            ports = (1025, 8080) if from_client else (8080, 1025)
            tcp = struct.pack(">HHIIBBHHH", *ports, sequence[from_client], sequence[not from_client], 0x50, 0x18, 65_535, 0, 0)
            host = bytes([127, 0, 0, 1])
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(part), clock & 0xFFFF, 0x4000, 64, 6, 0) + host + host
            packet = ip + tcp + part
            out.append(struct.pack("<IIII", clock // 1000, clock % 1000 * 1000, len(packet), len(packet)) + packet)
            sequence[from_client] += len(part)
            clock += 1
    return b"".join(out)
