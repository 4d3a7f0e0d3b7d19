// Two documents of one page, each with a socket of its own to y-websocket's server.
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';

const url = new URL('server', location).href.replace(/^http/, 'ws');
const room = crypto.randomUUID();
const [mine, yours] = [0, 1].map(() => {
  const doc = new Y.Doc();
  // Tabs of one browser would tell each other without a server.
  new WebsocketProvider(url, room, doc, { disableBc: true, maxBackoffTime: 1000 });
  return doc.getMap('shared');
});

window.use = async () => {
  const value = crypto.randomUUID();
  mine.set('value', value);
  for (let n = 0; n < 100 && yours.get('value') !== value; n++) await new Promise((resolve) => setTimeout(resolve, 50));
  return yours.get('value') === value;
};
