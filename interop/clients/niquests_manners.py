"""A niquests client for rejections, subprotocols, closes and aborts: `niquests_manners.py URL`. Prints one JSON object."""

import contextlib
import json
import sys
from urllib.parse import urlsplit

import jh2.exceptions
import niquests

url = urlsplit(sys.argv[1])
seen = {}


def open_socket(path: str, **headers: str):
    return session.get(f"wss+rfc8441://{url.netloc}{path}", headers=headers, verify=False)


def talk(message: str, **headers: str) -> dict:
    """Sends a message on a new socket, and reports the result."""
    response = open_socket("/echo", **headers)
    socket = response.extension
    said = {"status": response.status_code, "answer": None, "error": None,
            "subprotocol": response.headers.get("sec-websocket-protocol", "")}
    socket.send_payload(message)
    try:
        said["answer"] = socket.next_payload()
    except Exception as error:  # the exception raised for an abort is part of the report
        said["error"] = type(error).__name__
    said["closed"] = socket.closed
    # Closing a socket whose stream was reset raises.
    with contextlib.suppress(jh2.exceptions.StreamClosedError):
        socket.close()
    return said


with niquests.Session(disable_http1=True) as session:
    refused = open_socket("/refuse")
    seen["refused"] = {"status": refused.status_code, "body": refused.text, "socket": refused.extension is not None}
    seen["chosen"] = talk("hello", **{"Sec-WebSocket-Protocol": "unknown.example, echo.example"})
    seen["unchosen"] = talk("hello", **{"Sec-WebSocket-Protocol": "unknown.example"})
    seen["pinged"] = talk("?ping")
    seen["closed"] = talk("?close 4002 bye")
    seen["aborted"] = talk("?abort")
    seen["after"] = talk("again")
    seen["page"] = session.get(f"https://{url.netloc}/", verify=False).status_code
print(json.dumps(seen))
