"""A niquests client over RFC 8441: `niquests_h2.py URL COUNT`. Prints one JSON object."""

import json
import sys

import niquests

url, count = sys.argv[1].replace("wss://", "wss+rfc8441://"), int(sys.argv[2])
sockets = []
with niquests.Session(disable_http1=True) as session:
    for _ in range(count):
        response = session.get(url, verify=False)
        socket = {"status": response.status_code, "version": response.http_version, "echoed": 0, "error": None}
        if response.extension is None:
            socket["error"] = "no socket"
        else:
            # It sends each message in one DATA frame, so larger messages fail.
            for message in ["text ü", "x" * 10_000, bytes(16_000)]:
                response.extension.send_payload(message)
                # A large message is received in parts.
                answer = response.extension.next_payload()
                while answer is not None and len(answer) < len(message):
                    answer += response.extension.next_payload()
                if answer != message:
                    socket["error"] = f"message {socket['echoed'] + 1} came back differently"
                    break
                socket["echoed"] += 1
            response.extension.close()
        sockets.append(socket)
print(json.dumps({"sockets": sockets}))
