"""A TCP relay that counts connections, as evidence independent of the peers."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """Forwards to a port, counts connections, and can reset them."""

    def __init__(self, target: int):
        self.target = target
        self.accepted = 0
        self.first_bytes: list[bytes] = []
        self.bytes = 0
        self._writers: set = set()
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> Relay:
        # Without a backlog, a thousand connections at once would lose some of their first packets.
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Resets every connection, to simulate a lost network."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader, writer) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
            except OSError:
                writer.transport.abort()
                raise
            pair = {writer, up_writer}
            self._writers |= pair
            try:
                await asyncio.gather(
                    self._copy(reader, up_writer, first=True),
                    self._copy(up_reader, writer),
                )
            finally:
                self._writers -= pair
                writer.close()
                up_writer.close()

    async def _copy(self, reader, writer, first: bool = False) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1 << 18):
                if first:
                    self.first_bytes.append(chunk[:24])
                    first = False
                self.bytes += len(chunk)
                writer.write(chunk)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
                return
        writer.close()
