// undici's WebSocket over h2, by manners.mjs: undici-manners.mjs URL; prints one JSON object.
import { createRequire } from 'node:module';
import path from 'node:path';
import manners from './manners.mjs';

const require = createRequire(path.join(process.env.INTEROP_NODE_MODULES, '..', 'package.json'));
const { Agent, WebSocket } = require('undici');

const { origin, host } = new URL(process.argv[2].replace(/^ws/, 'http'));
const dispatcher = new Agent({ allowH2: true, connections: 1, pipelining: 100, connect: { rejectUnauthorized: false } });
const get = async (path) => {
  const { statusCode, body } = await dispatcher.request({ origin, path, method: 'GET' });
  await body.text();
  return statusCode;
};
setInterval(() => {}, 1_000); // undici's connections do not keep the process alive
// undici learns by a page that the origin speaks h2.
await get('/');
console.log(JSON.stringify(await manners((path, protocols) => new WebSocket(`wss://${host}${path}`, { protocols, dispatcher }), get)));
process.exit(0);
