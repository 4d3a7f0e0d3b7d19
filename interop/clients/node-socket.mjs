// Node's http2.connect with npm `ws` on its streams.
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.INTEROP_NODE_MODULES, '..', 'package.json'));
const WebSocket = require('ws');

// A session to the URL's server, once that has said that it knows RFC 8441.
export async function connect(url) {
  const target = new URL(url.replace(/^ws/, 'http'));
  const session = http2.connect(target.origin, { rejectUnauthorized: false });
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  if (!session.remoteSettings.enableConnectProtocol) throw new Error('no ENABLE_CONNECT_PROTOCOL');
  return { session, target };
}

// The stream of an extended CONNECT.
export function request({ session, target }, pathname = target.pathname, subprotocols = []) {
  const offer = subprotocols.length ? { 'sec-websocket-protocol': subprotocols.join(', ') } : {};
  return session.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':path': pathname,
    ':scheme': target.protocol.slice(0, -1), ':authority': target.host, 'sec-websocket-version': '13', ...offer,
  }, { endStream: false });
}

// A socket that has no stream yet. Without these two `ws` answers no Ping, and cuts its closing handshake.
export function socket() {
  const ws = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30_000 });
  ws._isServer = false;
  return ws;
}

// Opens it on a stream that was answered by 200.
export function begin(ws, stream, subprotocol = '') {
  stream.setNoDelay = () => {};
  ws._protocol = subprotocol;
  ws.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 27, skipUTF8Validation: false });
  return ws;
}
