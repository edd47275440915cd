// Who watches: counted while they do, not a moment longer; and who may not is told why.

import assert from 'node:assert/strict';

import { decodes, publisherPage } from '../harness/media.js';
import { person } from '../harness/pages.js';
import { Socket } from '../harness/socket.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'audience' });

const CAMERA = { source: { audio: true, video: { width: 640, height: 360 } }, options: { codec: 'vp8', simulcast: false } };
const viewers = (page) => page.evaluate(() => globalThis.client.live.state.viewers);

scenario('the viewer count drops when a tab is closed', async ({ t, server, open }) => {
  const ana = await publisherPage(open, server, { stream: 'counted', publish: CAMERA });
  const vera = await person(open, server.url, 'Vera', '/watch/counted');
  const vito = await person(open, server.url, 'Vito', '/watch/counted');
  for (const page of [vera, vito]) await decodes(page);
  await until('two viewers', async () => (await viewers(ana)) === 2);
  const closed = Date.now();
  await vito.close();
  await until('one viewer', async () => (await viewers(ana)) === 1, { within_ms: 2000, every_ms: 20 });
  t.diagnostic(`the count dropped ${Date.now() - closed} ms after the tab began to close`);
  await until('the other sees it', async () => (await vera.textContent('#viewers')).trim() === '1', { within_ms: 3000 });
});

scenario('a banned viewer is refused at the door, and the page says why', async ({ server, open }) => {
  const ana = await publisherPage(open, server, { stream: 'gated', publish: CAMERA });
  const troll = await person(open, server.url, 'Troll', '/watch/gated');
  await decodes(troll);
  await ana.evaluate(() => globalThis.client.live.ban('troll', 'spam'));
  await until('the page says so', async () => /banned/i.test(await troll.textContent('#status')));
  const token = await server.token({ sub: 'troll', name: 'Troll' });
  await assert.rejects(Socket.open(server, '/ws/live/gated/', { token }), { status: 403 });
  await troll.reload();
  await until('and says so again', async () => /banned/i.test(await troll.textContent('#status')));
  await ana.evaluate(() => globalThis.client.live.unban('troll'));
  await troll.reload();
  await decodes(troll);
});
