"""The echo application for ASGI servers (Hypercorn, Granian)."""

import json


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"an ordinary answer\n"})
        return None
    await receive()
    if scope["path"].startswith("/refuse"):
        return await send({"type": "websocket.close"})
    offered = [p for p in scope.get("subprotocols", ()) if p.startswith("echo")]
    chosen = offered[0] if offered else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    facts = {
        "version": scope["http_version"],
        "path": scope["path"],
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "subprotocol": chosen or "",
    }
    await echo(facts, receive, send)


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def echo(facts, receive, send):
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text, data = message.get("text"), message.get("bytes")
        if text == "?request":
            await send({"type": "websocket.send", "text": json.dumps(facts)})
        elif text and text.startswith("?close "):
            _, code, reason = (text + "  ").split(" ", 2)
            await send({"type": "websocket.close", "code": int(code), "reason": reason.strip()})
            return
        elif text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": data})
