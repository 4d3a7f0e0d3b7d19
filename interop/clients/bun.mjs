// Bun's WebSocket: bun clients/bun.mjs URL COUNT; prints one JSON object.
const [url, count] = process.argv.slice(2);

function one(number) {
  return new Promise((resolve) => {
    const ws = new WebSocket(url, { tls: { rejectUnauthorized: false } });
    ws.binaryType = 'arraybuffer';
    const messages = ['text ü', '', 'x'.repeat(65_536), new Uint8Array(100_000).fill(number)];
    let next = 0, error = null;
    const send = () => (next < messages.length ? ws.send(messages[next]) : ws.close(4000 + number, 'bye'));
    ws.onopen = send;
    ws.onerror = (event) => { error ??= String(event.message ?? 'error'); };
    ws.onmessage = ({ data }) => {
      const want = messages[next++];
      const same = typeof want === 'string' ? data === want : Buffer.from(data).equals(Buffer.from(want));
      if (!same) error ??= `message ${next} came back differently`;
      send();
    };
    ws.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean, error, echoed: next });
  });
}

const sockets = await Promise.all(Array.from({ length: Number(count) }, (_, number) => one(number)));
console.log(JSON.stringify({ sockets }));
process.exit(0);
