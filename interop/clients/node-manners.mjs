// Node's http2 with npm `ws`, by manners.mjs, and what only streams can tell: node-manners.mjs URL; prints one JSON object.
import http2 from 'node:http2';
import manners from './manners.mjs';
import { begin, connect, request, socket } from './node-socket.mjs';

const server = await connect(process.argv[2]);
const CANCEL = http2.constants.NGHTTP2_CANCEL;
// By path: the answers to extended CONNECTs that were refused.
const refusals = {};

function open(path, subprotocols) {
  const ws = socket();
  const stream = request(server, path, subprotocols);
  stream.on('error', () => {});
  stream.once('response', (headers) => {
    if (headers[':status'] === 200) return begin(ws, stream, headers['sec-websocket-protocol']);
    let body = '';
    stream.setEncoding('utf8').on('data', (text) => { body += text; }).once('end', () => {
      refusals[path] = { status: headers[':status'], body };
      stream.end();
      ws.onclose({ code: 1006, reason: '', wasClean: false });
    });
  });
  return ws;
}

const get = (path) => new Promise((resolve, reject) => {
  const stream = server.session.request({ ':path': path });
  let status;
  stream.on('error', reject).once('response', (headers) => { status = headers[':status']; });
  stream.resume().once('end', () => resolve(status));
});

const echo = (ws, message) => new Promise((resolve) => {
  ws.onmessage = ({ data }) => resolve(data);
  ws.send(message);
});

// Beside all that follows.
const opened = (path) => new Promise((resolve) => {
  const ws = open(path, []);
  ws.onopen = () => resolve(ws);
});
const sibling = await opened('/echo');
const seen = await manners(open, get);

// Ten that we reset, half of them in the midst of a message.
const aborted = await Promise.all(Array.from({ length: 10 }, () => opened('/echo')));
const gone = aborted.map((ws, number) => new Promise((resolve) => {
  ws.on('error', () => {});
  ws.onclose = ({ code }) => resolve(code);
  if (number % 2) ws.send('x'.repeat(100_000));
  ws._socket.close(CANCEL);
}));
seen.abortedByUs = await Promise.all(gone);
seen.sibling = await echo(sibling, 'unharmed');
console.log(JSON.stringify({ ...seen, refusals }));
process.exit(0);
