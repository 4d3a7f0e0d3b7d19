"""explore"""
import json
from lib import program
from lib.cases import Turn, case, check, equal
from .reference import is_server

@case("client", wants=is_server)
async def probed(turn: Turn):
    """x"""
    options = ["--subprotocol", turn.peer.subprotocol] if turn.peer.subprotocol else []
    for e in turn.served.endpoints():
        p = await program.probe(turn.h2ws, e.ws_url(), *options)
        open(f"/tmp/probe_{turn.peer.name}_{'tls' if e.tls else 'clear'}.json","w").write(json.dumps(p.said,indent=1))
        turn.note(f"{'tls' if e.tls else 'clear'} {p.status} {[f['text']+' '+str(f['clause']) for f in p.said['findings']]}")
