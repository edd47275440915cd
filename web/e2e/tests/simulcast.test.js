// A publisher that sends three layers; a viewer gets the best or the one it asks for.

import assert from 'node:assert/strict';

import { decodes, events, goesOn, playsSteadily, publisherPage, received, sent, viewerPage } from '../harness/media.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'simulcast' });

const CAMERA = { audio: true, video: { width: 1280, height: 720, frameRate: 30 } };

scenario('a viewer changes quality and the picture changes size on the same connection', async ({ t, server, open }) => {
  const stream = 'layers';
  const publisher = await publisherPage(open, server, {
    stream,
    publish: { source: CAMERA, options: { codec: 'vp8', simulcast: true } },
  });
  await until(
    'three layers sent',
    async () => (await sent(publisher)).filter((layer) => layer.framesSent > 30).length === 3,
    { within_ms: 60_000 },
  );
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  const best = await decodes(viewer, { width: 1280, height: 720, within_ms: 60_000 });
  t.diagnostic(`auto: ${best.frameWidth}x${best.frameHeight}`);

  for (const [quality, width] of [['low', 320], ['medium', 640], ['high', 1280]]) {
    await viewer.evaluate((wanted) => globalThis.client.viewer.setQuality(wanted), quality);
    await until(`${quality} is ${width} wide`, async () => (await received(viewer)).frameWidth === width);
    await goesOn(viewer);
    const told = await until(`quality_changed for ${quality}`, async () => (await events(viewer, 'quality')).at(-1));
    t.diagnostic(`${quality}: ${JSON.stringify(told.data.layer)} (${told.data.reason})`);
  }
  assert.equal(await viewer.evaluate(() => globalThis.peers.length), 1, 'the viewer never reconnected');
  t.diagnostic(await playsSteadily(viewer));
});

scenario('several viewers of different layers do not disturb each other', async ({ server, open }) => {
  const stream = 'layers-shared';
  await publisherPage(open, server, { stream, publish: { source: CAMERA, options: { codec: 'vp8', simulcast: true } } });
  const viewers = await Promise.all(
    ['low', 'medium'].map((quality) => viewerPage(open, server, { stream, user: `v-${quality}`, watch: { quality } })),
  );
  await until('each has its own size', async () => {
    const widths = await Promise.all(viewers.map(async (viewer) => (await received(viewer))?.frameWidth));
    if (widths[0] === 320 && widths[1] === 640) return true;
    throw new Error(JSON.stringify(widths));
  }, { within_ms: 60_000 });
  await Promise.all(viewers.map((viewer) => playsSteadily(viewer, { seconds: 4 })));
});
