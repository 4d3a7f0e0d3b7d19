// What every echo backend of the run does with a socket. Messages that begin
// with "?" ask for something an echo cannot show; each gets one answer, or
// ends the socket.
import { createRequire } from 'node:module';
import path from 'node:path';

const modules = process.env.INTEROP_NODE_MODULES;
export const require = createRequire(path.join(modules, '..', 'package.json'));
export const WebSocket = require('ws');

export function serve(ws, facts, terminate) {
  ws.on('error', () => {});
  ws.on('message', (data, binary) => {
    const text = binary ? '' : data.toString();
    const [command, ...rest] = text.split(' ');
    switch (command) {
      case '?request': // who asked, and how
        return ws.send(JSON.stringify(facts));
      case '?close': // ?close CODE REASON
        return ws.close(Number(rest[0]), rest.slice(1).join(' '));
      case '?abort': // an end without a Close frame
        return terminate();
      case '?ping': // answers when our Ping was answered
        ws.once('pong', (payload) => ws.send(`ponged ${payload}`));
        return ws.ping('are you there');
      case '?fragments': // one message in three frames, a Ping between them
        ws.send('frag', { fin: false });
        ws.ping();
        ws.send('men', { fin: false });
        return ws.send('ted', { fin: true });
      default:
        return ws.send(data, { binary });
    }
  });
}
