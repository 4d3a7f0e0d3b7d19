// The echo on Bun.serve: bun-echo.mjs TLS_PORT CLEAR_PORT CERT KEY
const [tlsPort, clearPort, cert, key] = process.argv.slice(2);

const echo = {
  fetch(request, server) {
    const url = new URL(request.url);
    if (url.pathname.startsWith('/refuse')) return new Response('not you\n', { status: 403 });
    const offered = (request.headers.get('sec-websocket-protocol') ?? '').split(',').map((name) => name.trim());
    const subprotocol = offered.find((name) => name.startsWith('echo')) ?? '';
    const data = { version: '1.1', path: url.pathname + url.search, headers: Object.fromEntries(request.headers), subprotocol };
    const headers = subprotocol ? { 'sec-websocket-protocol': subprotocol } : {};
    return server.upgrade(request, { data, headers }) ? undefined : new Response('an ordinary answer\n');
  },
  websocket: {
    maxPayloadLength: 1 << 27,
    backpressureLimit: 1 << 28,
    message(ws, message) {
      const [command, ...rest] = typeof message === 'string' ? message.split(' ') : [''];
      if (message === '?request') ws.send(JSON.stringify(ws.data));
      else if (command === '?close') ws.close(Number(rest[0]), rest.slice(1).join(' '));
      else if (message === '?abort') ws.terminate();
      else if (message === '?ping') ws.ping('are you there');
      else ws.send(message);
    },
    pong(ws, payload) {
      ws.send(`ponged ${payload}`);
    },
  },
};
Bun.serve({ ...echo, hostname: '127.0.0.1', port: Number(clearPort) });
Bun.serve({ ...echo, hostname: '127.0.0.1', port: Number(tlsPort), tls: { cert: Bun.file(cert), key: Bun.file(key) } });
