// The plain RFC 6455 echo backend: backend.mjs PORT [CERT KEY]
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { readFileSync } from 'node:fs';
import { WebSocket, serve } from './echo.mjs';

const [port, cert, key] = process.argv.slice(2);
const server = cert
  ? createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), ALPNProtocols: ['http/1.1'] })
  : createServer();
server.on('request', (_, response) => response.end('an ordinary answer\n'));

const sockets = new WebSocket.Server({
  noServer: true,
  maxPayload: 1 << 27,
  perMessageDeflate: process.env.DEFLATE === '1',
  handleProtocols: (offered, request) =>
    request.url.startsWith('/wrong-subprotocol') ? 'never-offered' : [...offered].find((p) => p.startsWith('echo')) ?? false,
});
server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => {});
  if (request.url.startsWith('/refuse')) {
    const body = 'not you\n';
    socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${body.length}\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n${body}`);
    return;
  }
  sockets.handleUpgrade(request, socket, head, (ws) =>
    serve(
      ws,
      { version: request.httpVersion, path: request.url, headers: request.headers, subprotocol: ws.protocol },
      // A TLS socket cannot send a TCP reset; it ends without close_notify.
      () => (socket.encrypted ? socket.destroy() : socket.resetAndDestroy()),
    ));
});
server.listen(Number(port), '127.0.0.1');
