// The pages of the applications, and the servers of those that are npm packages: server.mjs NAME PORT
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import path from 'node:path';

const modules = process.env.INTEROP_NODE_MODULES;
const require = createRequire(path.join(modules, '..', 'package.json'));
const [name, port] = process.argv.slice(2);
const here = import.meta.dirname;
const from = (file) => readFileSync(path.join(modules, file));

// The page's one script beside itself: the client's own distribution, or ours bundled with it.
const scripts = {
  'socket.io': () => from('socket.io-client/dist/socket.io.js'),
  mqtt: () => from('mqtt/dist/mqtt.min.js'),
  nats: () => from('nats.ws/esm/nats.js'),
  graphql: () => from('graphql-ws/umd/graphql-ws.js'),
  signalr: () => from('@microsoft/signalr/dist/browser/signalr.min.js'),
  yjs: () => bundled('yjs'),
  hocuspocus: () => bundled('hocuspocus'),
};

async function bundled(name) {
  const { rolldown } = require('rolldown');
  const bundle = await rolldown({
    input: path.join(here, `pages/${name}.entry.mjs`), resolve: { modules: [modules] }, platform: 'browser', logLevel: 'silent',
  });
  return (await bundle.generate({ format: 'iife' })).output[0].code;
}

const script = await scripts[name]();
const page = readFileSync(path.join(here, 'pages', `${name}.html`));

const server = createServer((request, response) => {
  if (request.url.startsWith('/client.js')) response.setHeader('content-type', 'text/javascript').end(script);
  else response.setHeader('content-type', 'text/html').end(page);
});

const servers = {
  'socket.io': () => {
    const { Server } = require('socket.io');
    new Server(server).on('connection', (socket) => socket.on('echo', (value, answer) => answer(value)));
  },
  graphql: () => {
    const { GraphQLInt, GraphQLObjectType, GraphQLSchema } = require('graphql');
    const { WebSocketServer } = require('ws');
    const { useServer } = require('graphql-ws/use/ws');
    const subscribe = async function* (_, { to }) {
      for (let n = 1; n <= to; n++) yield { count: n };
    };
    const count = { type: GraphQLInt, args: { to: { type: GraphQLInt } }, subscribe };
    const schema = new GraphQLSchema({
      query: new GraphQLObjectType({ name: 'Query', fields: { one: { type: GraphQLInt, resolve: () => 1 } } }),
      subscription: new GraphQLObjectType({ name: 'Subscription', fields: { count } }),
    });
    useServer({ schema }, new WebSocketServer({ server, path: '/graphql' }));
  },
  hocuspocus: () => {
    const { Hocuspocus } = require('@hocuspocus/server');
    const { WebSocketServer } = require('ws');
    const hocuspocus = new Hocuspocus({ quiet: true });
    new WebSocketServer({ server, path: '/server' }).on('connection', (ws, request) => hocuspocus.handleConnection(ws, request));
  },
};
servers[name]?.();
server.listen(Number(port), '127.0.0.1');
