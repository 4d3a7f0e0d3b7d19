"""A wreq client over RFC 8441: `wreq_h2.py URL COUNT`. Prints one JSON object."""

import asyncio
import json
import sys

import wreq

MESSAGES = ["text ü", "", "x" * 65_536, bytes(100_000)]


async def one(client, url: str, number: int) -> dict:
    seen = {"echoed": 0, "error": None, "code": None}
    socket = await client.websocket(url, version=wreq.Version.HTTP_2)
    seen["version"] = str(socket.version).removeprefix("Version.")
    for message in MESSAGES:
        text = isinstance(message, str)
        await socket.send(wreq.Message.from_text(message) if text else wreq.Message.from_binary(message))
        answer = await socket.recv()
        if (answer.text if text else answer.binary) != message:
            seen["error"] = f"message {seen['echoed'] + 1} came back differently"
            break
        seen["echoed"] += 1
    await socket.close(4000 + number, "bye")
    return seen


async def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    client = wreq.Client(tls_verify=False)
    sockets = await asyncio.gather(*(one(client, url, number) for number in range(count)))
    print(json.dumps({"sockets": sockets}))


asyncio.run(main())
