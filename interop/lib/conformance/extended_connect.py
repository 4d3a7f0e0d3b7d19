"""Opening over HTTP/2, and ending one stream without effect on its siblings: RFC 8441."""

from __future__ import annotations

from ..channel import Ended, Http2, frame
from ..endpoint import PeerError
from ..rfc8441 import Connection
from .clause import Broken, Lesser, Target, clause
from .expect import CLOSE, TEXT, fails, message, opened


@clause("RFC 8441 §3", "SETTINGS_ENABLE_CONNECT_PROTOCOL is 1", "http2")
async def _setting(target: Target) -> None:
    async with Connection.to(target.endpoint) as connection:
        if not connection.capable:
            raise Broken("the setting is missing")


async def _sibling(target: Target, connection: Connection) -> Http2:
    """Opens another socket on a connection."""
    fields = [("sec-websocket-protocol", target.subprotocol)] if target.subprotocol else []
    return await Http2.on(connection, fields)


def rejects2(section: str, name: str, malformed: bool = False, statuses=range(400, 600), header=None, **how) -> None:
    """Expects a rejection by status or, if the request is malformed, by stream error; a sibling still works."""
    @clause(section, name, "http2")
    async def run(target: Target) -> None:
        async with Connection.to(target.endpoint, strict=False) as connection:
            sibling = await _sibling(target, connection)
            try:
                channel = await Http2.on(connection, **how)
            except PeerError as error:
                raise Broken(str(error)) from None
            if 200 <= channel.status < 300:
                raise Broken(f"accepted with {channel.status}")
            if malformed and channel.status not in (0, 400):
                raise Lesser(f"status {channel.status} to a malformed request")
            if not malformed and channel.status not in statuses:
                raise Lesser(f"status {channel.status}" if channel.status else f"RST_STREAM({channel.stream.reset})")
            if header and channel.headers.get(header[0]) != header[1]:
                raise Lesser(f"no {header[0]}: {header[1]}")
            await sibling.write(frame(TEXT, b"the sibling"))
            if (await message(sibling, target.patience))[1] != b"the sibling":
                raise Broken("the sibling does not echo")


rejects2("RFC 8441 §4", "another :protocol", protocol="connect-udp")
rejects2("RFC 9113 §8.5", "CONNECT without :protocol", protocol=None, scheme=None, path=None, version=None)
rejects2("RFC 8441 §4", "no :path", malformed=True, path=None)
rejects2("RFC 8441 §4", "no :scheme", malformed=True, scheme=None)
rejects2("RFC 9113 §8.3.1", "an empty :path", malformed=True, path="")
rejects2("RFC 8441 §5", ":scheme wss", malformed=True, scheme="wss")
rejects2("RFC 8441 §4", ":protocol with GET", malformed=True, method="GET")
rejects2("RFC 6455 §4.4", "version 8", header=("sec-websocket-version", "13"), version="8")
rejects2("RFC 6455 §4.2.1", "no version", version=None)
rejects2("RFC 9113 §8.2.2", "Connection: Upgrade in the request", malformed=True, fields=[("connection", "Upgrade")])


@clause("RFC 8441 §5", "the 200 is open and names nothing that was not offered", "http2")
async def _answer(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        if channel.stream.ended:
            raise Broken("END_STREAM on the 200")
        for name in ("sec-websocket-extensions", *([] if target.subprotocol else ["sec-websocket-protocol"])):
            if name in channel.headers:
                raise Broken(f"{name}, which was not offered")
        for name in ("content-length", "transfer-encoding", "upgrade", "connection"):
            if name in channel.headers:
                raise Broken(f"{name} in the 200")
        if "sec-websocket-accept" in channel.headers:
            raise Lesser("a sec-websocket-accept although no key was sent")


@clause("RFC 8441 §5", "END_STREAM without a Close ends the socket", "http2")
async def _fin(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        await channel.write(frame(TEXT, b"hi"))
        await message(channel, target.patience)
        await channel.write(b"", end=True)
        try:
            while (received := await channel.frame(target.patience)) is not None:
                if received.opcode != CLOSE:
                    raise Broken(f"answered by {received}")
        except Ended as end:
            if "END_STREAM" not in str(end) and "RST" not in str(end):
                raise Broken(f"the whole connection: {end}") from None
            return
        raise Lesser("no reaction: the stream stays half open")


@clause("RFC 8441 §5", "RST_STREAM ends one socket alone", "http2")
async def _reset(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        other = await _sibling(target, channel.connection)
        await other.write(frame(TEXT, b"x" * 1000)[:500])
        channel.connection.reset(other.stream)
        await channel.write(frame(TEXT, b"the sibling"))
        if (await message(channel, target.patience))[1] != b"the sibling":
            raise Broken("the sibling does not echo")


@clause("RFC 6455 §7.1.7, RFC 8441 §5", "a failed socket leaves its siblings alone", "http2")
async def _failed(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        other = await _sibling(target, channel.connection)
        await other.write(frame(3, b"hi"))
        await fails(other, (1002,), target.patience)
        await channel.write(frame(TEXT, b"the sibling"))
        if (await message(channel, target.patience))[1] != b"the sibling":
            raise Broken("the sibling does not echo")
