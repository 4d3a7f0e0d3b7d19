// undici's WebSocket over h2: undici.mjs URL COUNT; prints one JSON object.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.INTEROP_NODE_MODULES, '..', 'package.json'));
const { Agent, WebSocket } = require('undici');

const [url, count] = process.argv.slice(2);
const dispatcher = new Agent({ allowH2: true, connections: 1, pipelining: 100, connect: { rejectUnauthorized: false } });

// The page first: undici learns by it that the origin speaks h2.
const page = await dispatcher.request({ origin: new URL(url.replace(/^ws/, 'http')).origin, path: '/', method: 'GET' });
await page.body.text();

function one(number) {
  return new Promise((resolve) => {
    const ws = new WebSocket(url, { dispatcher });
    ws.binaryType = 'arraybuffer';
    const messages = ['text ü', '', 'x'.repeat(65_536), new Uint8Array(100_000).fill(number)];
    let next = 0, error = null;
    const send = () => (next < messages.length ? ws.send(messages[next]) : ws.close(4000 + number, 'bye'));
    ws.onopen = send;
    ws.onerror = (event) => { error ??= String(event.error?.message ?? event.message ?? 'error'); };
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
console.log(JSON.stringify({ page: page.statusCode, sockets }));
process.exit(0);
