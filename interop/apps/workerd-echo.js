// The echo on workerd.
export default {
  fetch(request) {
    const url = new URL(request.url);
    if (url.pathname.startsWith('/refuse')) return new Response('not you\n', { status: 403 });
    if (request.headers.get('upgrade') !== 'websocket') return new Response('an ordinary answer\n');
    const offered = (request.headers.get('sec-websocket-protocol') ?? '').split(',').map((name) => name.trim());
    const subprotocol = offered.find((name) => name.startsWith('echo')) ?? '';
    const facts = { version: '1.1', path: url.pathname + url.search, headers: Object.fromEntries(request.headers), subprotocol };
    const { 0: client, 1: ws } = new WebSocketPair();
    ws.accept();
    ws.addEventListener('message', ({ data }) => {
      const [command, ...rest] = typeof data === 'string' ? data.split(' ') : [''];
      if (data === '?request') ws.send(JSON.stringify(facts));
      else if (command === '?close') ws.close(Number(rest[0]), rest.slice(1).join(' '));
      else ws.send(data);
    });
    ws.addEventListener('close', ({ code, reason }) => ws.close(code === 1005 ? 1000 : code, reason));
    const headers = subprotocol ? { 'sec-websocket-protocol': subprotocol } : {};
    return new Response(null, { status: 101, webSocket: client, headers });
  },
};
