// Node's http2.connect with npm `ws` on the stream: node-h2.mjs URL COUNT; prints one JSON object.
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.INTEROP_NODE_MODULES, '..', 'package.json'));
const WebSocket = require('ws');
const [url, count] = process.argv.slice(2);
const target = new URL(url.replace(/^ws/, 'http'));
const session = http2.connect(target.origin, { rejectUnauthorized: false });
await new Promise((resolve) => session.once('remoteSettings', resolve));
if (!session.remoteSettings.enableConnectProtocol) throw new Error('no ENABLE_CONNECT_PROTOCOL');

function one(number) {
  return new Promise((resolve) => {
    const stream = session.request({
      ':method': 'CONNECT', ':protocol': 'websocket', ':path': target.pathname,
      ':scheme': target.protocol.slice(0, -1), ':authority': target.host, 'sec-websocket-version': '13',
    }, { endStream: false });
    const result = { status: 0, echoed: 0, error: null };
    stream.on('error', (error) => { result.error ??= error.message; resolve(result); });
    stream.once('response', (headers) => {
      result.status = headers[':status'];
      if (result.status !== 200) return stream.close();
      stream.setNoDelay = () => {};
      const ws = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30_000 });
      ws._isServer = false;
      ws.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 27, skipUTF8Validation: false });
      const messages = ['text ü', '', 'x'.repeat(65_536), Buffer.alloc(100_000, number)];
      const send = () => (result.echoed < messages.length ? ws.send(messages[result.echoed]) : ws.close(4000 + number, 'bye'));
      ws.on('error', (error) => { result.error ??= error.message; });
      ws.on('message', (data, binary) => {
        const want = messages[result.echoed++];
        if (binary !== Buffer.isBuffer(want) || !data.equals(Buffer.from(want))) result.error ??= 'came back differently';
        send();
      });
      ws.on('close', (code, reason) => resolve({ ...result, code, reason: reason.toString() }));
      send();
    });
  });
}

const sockets = await Promise.all(Array.from({ length: Number(count) }, (_, number) => one(number)));
console.log(JSON.stringify({ sockets }));
process.exit(0);
