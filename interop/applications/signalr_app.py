"""A SignalR hub that echoes: `signalr_app.py PORT PATH`."""

import sys

import uvicorn
from aiosignalr.server import Hub, SignalRServer


class EchoHub(Hub):
    async def echo(self, value: str) -> str:
        return value


async def app(scope, receive, send):
    async def send_text(event):
        # The hub sends JSON in binary messages, which SignalR's JavaScript client does not read.
        if event["type"] == "websocket.send" and event.get("bytes") is not None:
            event = {"type": "websocket.send", "text": event["bytes"].decode()}
        await send(event)

    await hub(scope, receive, send_text)


port, path = sys.argv[1:]
hub = SignalRServer(EchoHub).asgi_app(path=path)
uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", lifespan="off")
