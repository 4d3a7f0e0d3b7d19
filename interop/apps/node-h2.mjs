// Node's own http2 with npm `ws` on the stream: node-h2.mjs TLS_PORT CLEAR_PORT CERT KEY
import { createHash } from 'node:crypto';
import http2 from 'node:http2';
import { readFileSync } from 'node:fs';
import { WebSocket, serve } from './echo.mjs';

const [tlsPort, clearPort, cert, key] = process.argv.slice(2);
const settings = { enableConnectProtocol: true };
// In MB; the default of 10 resets streams (INTERNAL_ERROR) at 500 sockets of 64 KiB.
const room = { maxSessionMemory: 2000 };

function onStream(stream, headers) {
  stream.on('error', (error) => console.error(error.message));
  const url = headers[':path'] ?? '';
  if (headers[':protocol'] !== 'websocket') {
    stream.respond({ ':status': headers[':method'] === 'GET' ? 200 : 501, 'content-type': 'text/html' });
    return stream.end('<!doctype html><title>echo</title>an ordinary answer\n');
  }
  if (url.startsWith('/refuse')) {
    stream.respond({ ':status': 403, 'content-type': 'text/plain' });
    return stream.end('not you\n');
  }
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((p) => p.trim()).filter(Boolean);
  const chosen = url.startsWith('/wrong-subprotocol') ? 'never-offered' : offered.find((p) => p.startsWith('echo'));
  const answer = { ':status': 200 };
  if (chosen) answer['sec-websocket-protocol'] = chosen;
  const wsKey = headers['sec-websocket-key'];
  if (wsKey) { // undici and niquests send one over h2, and want the answer
    answer['sec-websocket-accept'] = createHash('sha1').update(`${wsKey}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  }
  stream.respond(answer);
  stream.setNoDelay = () => {};
  // Without these two `ws` answers no Ping, and cuts its close handshake after 1 ms.
  const ws = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 3_000 });
  ws._isServer = true;
  ws.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 27, skipUTF8Validation: false });
  const plain = Object.fromEntries(Object.entries(headers).filter(([name]) => typeof name === 'string'));
  serve(
    ws,
    { version: '2', path: url, headers: plain, subprotocol: chosen ?? '' },
    () => stream.close(http2.constants.NGHTTP2_CANCEL),
  );
}

const upgrades = new WebSocket.Server({
  noServer: true,
  maxPayload: 1 << 27,
  perMessageDeflate: false,
  handleProtocols: (offered) => [...offered].find((p) => p.startsWith('echo')) ?? false,
});
const secure = http2.createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true, settings, ...room });
secure.on('upgrade', (request, socket, head) => {
  if (request.url.startsWith('/refuse')) {
    return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\nConnection: close\r\n\r\nnot you\n');
  }
  upgrades.handleUpgrade(request, socket, head, (ws) =>
    serve(ws, { version: request.httpVersion, path: request.url, headers: request.headers, subprotocol: ws.protocol }, () => socket.destroy()));
});
secure.on('stream', onStream);
secure.on('sessionError', (error) => console.error(error));
secure.listen(Number(tlsPort), '127.0.0.1');

const clear = http2.createServer({ settings, ...room });
clear.on('stream', onStream);
clear.on('sessionError', () => {});
clear.listen(Number(clearPort), '127.0.0.1');
