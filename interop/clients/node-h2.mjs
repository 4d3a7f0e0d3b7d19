// Node's http2 with npm `ws`: node-h2.mjs URL COUNT; prints one JSON object.
import { begin, connect, request, socket } from './node-socket.mjs';

const [url, count] = process.argv.slice(2);
const server = await connect(url);

function one(number) {
  return new Promise((resolve) => {
    const stream = request(server);
    const result = { status: 0, echoed: 0, error: null };
    stream.on('error', (error) => { result.error ??= error.message; resolve(result); });
    stream.once('response', (headers) => {
      result.status = headers[':status'];
      if (result.status !== 200) return stream.close();
      const ws = begin(socket(), stream);
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
