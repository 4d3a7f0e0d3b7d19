// Two copies of one document, each with a socket of its own to Hocuspocus.
import { HocuspocusProvider } from '@hocuspocus/provider';
import * as Y from 'yjs';

const url = new URL('server', location).href.replace(/^http/, 'ws');
const name = crypto.randomUUID();
const [mine, yours] = [0, 1].map(() => {
  const document = new Y.Doc();
  new HocuspocusProvider({ url, name, document, minDelay: 100, delay: 500, maxDelay: 1000 });
  return document.getMap('shared');
});

window.use = async () => {
  const value = crypto.randomUUID();
  mine.set('value', value);
  for (let n = 0; n < 100 && yours.get('value') !== value; n++) await new Promise((resolve) => setTimeout(resolve, 50));
  return yours.get('value') === value;
};
