"""A TCP server: sends or receives the number of bytes that the first line of a connection asks for.

`down COUNT` is answered with that many bytes, `up COUNT` by a line once they have arrived. The same
file is the client: `tcp_bulk.py PORT down|up COUNT` prints the seconds that it took.
"""

import socket
import sys
import threading
import time

PIECE = bytes(256 * 1024)


def send(io: socket.socket, count: int) -> None:
    while count:
        piece = memoryview(PIECE)[:count]
        io.sendall(piece)
        count -= len(piece)


def receive(io: socket.socket, count: int) -> None:
    room = bytearray(len(PIECE))
    while count:
        got = io.recv_into(room, min(count, len(room)))
        if not got:
            raise EOFError(f"{count} bytes are missing")
        count -= got


def line(io: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n"):
        byte = io.recv(1)
        if not byte:
            raise EOFError(f"the connection ended after {text!r}")
        text += byte
    return text.decode().strip()


def serve(io: socket.socket) -> None:
    with io:
        io.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        way, count = line(io).split()
        if way == "down":
            send(io, int(count))
        else:
            receive(io, int(count))
            io.sendall(b"got it\n")
        io.recv(1)


if len(sys.argv) == 2:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
else:
    port, way, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with socket.create_connection(("127.0.0.1", port)) as io:
        began = time.perf_counter()
        io.sendall(f"{way} {count}\n".encode())
        if way == "down":
            receive(io, count)
        else:
            send(io, count)
            line(io)
        print(time.perf_counter() - began)
