"""A WSGI application that answers every upload with 413, without reading it: `too_large.py PORT`."""

import socketserver
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def application(_environ, start_response):
    start_response("413 Payload Too Large", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"too large\n"]


server = Server(("127.0.0.1", int(sys.argv[1])), Quiet)
server.set_app(application)
server.serve_forever()
