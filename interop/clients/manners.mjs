// What a client with the browsers' WebSocket meets beyond echoes. `open(path, subprotocols)` makes a
// socket, `get(path)` an ordinary request, both on this origin. Also run inside pages.
export default async function manners(open, get) {
  const ended = (ws) => new Promise((resolve) => {
    const seen = { opened: false, error: false, messages: [] };
    ws.binaryType = 'arraybuffer';
    ws.onopen = () => { seen.opened = true; ws.begin?.(); };
    ws.onerror = () => { seen.error = true; };
    ws.onmessage = ({ data }) => {
      seen.messages.push(typeof data === 'string' ? data : data.byteLength);
      ws.next?.();
    };
    ws.onclose = ({ code, reason, wasClean }) => resolve({ ...seen, code, reason, wasClean, subprotocol: ws.protocol });
  });
  const talk = (path, message, subprotocols = []) => {
    const ws = open(path, subprotocols);
    ws.begin = () => ws.send(message);
    ws.next = () => ws.close(4001, 'done');
    return ended(ws);
  };
  const silence = new Promise((resolve) => { setTimeout(resolve, 5_000, { opened: false, code: 'silence' }); });
  // All at once, since undici takes 5 s for each close: it waits for the end of the server's stream and never ends its own.
  const steps = {
    refused: Promise.race([ended(open('/refuse', [])), silence]),
    chosen: talk('/echo', 'hello', ['unknown.example', 'echo.example']),
    unchosen: talk('/echo', 'hello'),
    page: get('/'),
    closed: talk('/echo', '?close 4002 bye'),
    aborted: talk('/echo', '?abort'),
    pinged: talk('/echo', '?ping'),
    large: talk('/echo', new Uint8Array(4 << 20).fill(7)),
  };
  const result = {};
  for (const [name, step] of Object.entries(steps)) result[name] = await step;
  result.after = [await talk('/echo', 'again'), await get('/')];
  return result;
}
