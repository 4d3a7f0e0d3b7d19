// Deno's WebSocket: deno run clients/deno.mjs URL COUNT [h2]; prints one JSON object.
// The server has to obey `?request`, as `apps/echo.mjs` does.
const [url, count, how] = Deno.args;
const client = how === 'h2' ? Deno.createHttpClient({ http1: false, http2: true }) : undefined;

function one(number) {
  return new Promise((resolve) => {
    const ws = new WebSocket(url, { client });
    ws.binaryType = 'arraybuffer';
    const messages = ['?request', 'text ü', '', 'x'.repeat(65_536), new Uint8Array(100_000).fill(number)];
    let next = 0, error = null, version;
    const send = () => (next < messages.length ? ws.send(messages[next]) : ws.close(4000 + number, 'bye'));
    ws.onopen = send;
    ws.onerror = (event) => { error ??= String(event.message ?? 'error'); };
    ws.onmessage = ({ data }) => {
      const want = messages[next++];
      if (want === '?request') {
        version = JSON.parse(data).version;
        return send();
      }
      const same = typeof want === 'string' ? data === want
        : data.byteLength === want.length && new Uint8Array(data).every((byte, at) => byte === want[at]);
      if (!same) error ??= `message ${next} came back differently`;
      send();
    };
    ws.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean, error, version, echoed: next });
  });
}

const sockets = await Promise.all(Array.from({ length: Number(count) }, (_, number) => one(number)));
console.log(JSON.stringify({ sockets }));
Deno.exit(0);
