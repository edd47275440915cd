// What changes at the publisher reaches viewers on the connection that they have.

import assert from 'node:assert/strict';

import { decodes, events, goesOn, publisherPage, received, viewerPage } from '../harness/media.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'continuity', server: { env: { REDRED_LIVE__PUBLISHER_GRACE_MS: '10000' } } });

const CAMERA = { source: { audio: true, video: { width: 640, height: 360 } }, options: { codec: 'vp8', simulcast: false } };

const connections = (page) => page.evaluate(() => globalThis.peers.length);

async function watched(open, server, stream, publish = CAMERA) {
  const publisher = await publisherPage(open, server, { stream, publish });
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  return { publisher, viewer };
}

scenario('a publisher that reloads its page within the grace time keeps its viewers connected', async ({ server, open }) => {
  const stream = 'reload';
  const { publisher, viewer } = await watched(open, server, stream);
  await decodes(viewer);

  await publisher.reload();
  await publisher.evaluate((about) => globalThis.client.join(about), { token: publisher.token, stream });
  await publisher.evaluate((about) => globalThis.client.publish(about), CAMERA);

  await goesOn(viewer);
  assert.equal(await connections(viewer), 1, 'the viewer kept its connection');
  assert.deepEqual(await events(viewer, 'stream_ended'), []);
});

scenario('a publisher that closes its page and does not come back ends the stream', async ({ server, open }) => {
  const stream = 'gone';
  const { publisher, viewer } = await watched(open, server, stream);
  await decodes(viewer);
  await publisher.close();
  const [ended] = await until(
    'stream_ended',
    async () => {
      const found = await events(viewer, 'stream_ended');
      return found.length && found;
    },
    { within_ms: 30_000 },
  );
  assert.equal(ended.data.peak_viewers, 1);
  assert.ok(ended.data.duration_ms > 0);
});

scenario('mute and unmute stop and start what viewers get, without a new connection', async ({ server, open }) => {
  const { publisher, viewer } = await watched(open, server, 'mute');
  await decodes(viewer);
  await publisher.evaluate(() => globalThis.client.publisher.mute('video'));
  await until('no more frames', async () => {
    const before = (await received(viewer)).framesDecoded;
    await viewer.evaluate(() => new Promise((done) => setTimeout(done, 1000)));
    return (await received(viewer)).framesDecoded === before;
  });
  const packets = (await received(viewer, 'audio')).packetsReceived;
  await until('sound goes on meanwhile', async () => (await received(viewer, 'audio')).packetsReceived > packets + 20);
  await publisher.evaluate(() => globalThis.client.publisher.unmute('video'));
  await goesOn(viewer);
  assert.equal(await connections(viewer), 1);
});

scenario('another camera and then the screen replace the picture, without a new connection', async ({ server, open }) => {
  const { publisher, viewer } = await watched(open, server, 'switch');
  await decodes(viewer, { width: 640, height: 360 });
  await publisher.evaluate(async () => {
    const other = await globalThis.client.camera({ video: { width: 640, height: 480 } });
    await globalThis.client.publisher.replaceTrack(other.getVideoTracks()[0]);
  });
  await until('the other camera, 4:3', async () => {
    const { frameWidth, frameHeight } = await received(viewer);
    return Math.abs(frameWidth / frameHeight - 4 / 3) < 0.05;
  }, { within_ms: 30_000 });

  await publisher.evaluate(async () => {
    const shared = await navigator.mediaDevices.getDisplayMedia({ video: true });
    await globalThis.client.publisher.replaceTrack(shared.getVideoTracks()[0]);
  });
  await until('the screen, wider', async () => {
    const { frameWidth, frameHeight } = await received(viewer);
    if (frameWidth / frameHeight > 1.5) return true;
    throw new Error(`${frameWidth}x${frameHeight}`);
  }, { within_ms: 30_000 });
  await goesOn(viewer);
  assert.equal(await connections(viewer), 1);
});

scenario('a stream that starts with sound alone gains a picture, without a new connection', async ({ server, open }) => {
  const { publisher, viewer } = await watched(open, server, 'sound-first', { ...CAMERA, source: { audio: true } });
  await until('sound arrives', async () => (await received(viewer, 'audio'))?.packetsReceived > 50, { within_ms: 30_000 });
  assert.equal((await received(viewer))?.framesDecoded ?? 0, 0);
  await publisher.evaluate(async () => {
    const camera = await globalThis.client.camera({ video: { width: 640, height: 360 } });
    await globalThis.client.publisher.replaceTrack(camera.getVideoTracks()[0]);
  });
  await decodes(viewer, { width: 640, height: 360 });
  assert.equal(await connections(viewer), 1);
});

scenario('a stream without sound plays', async ({ server, open }) => {
  const { viewer } = await watched(open, server, 'picture-only', { ...CAMERA, source: { video: { width: 640, height: 360 } } });
  await decodes(viewer, { width: 640, height: 360 });
  assert.equal((await received(viewer, 'audio'))?.packetsReceived ?? 0, 0);
});

scenario('viewers that join at the same moment cost the publisher one keyframe', async ({ t, server, open }) => {
  const stream = 'crowd';
  const publisher = await publisherPage(open, server, { stream, publish: CAMERA });
  const pages = [];
  for (let index = 0; index < 4; index += 1) pages.push(await open({ name: `crowd ${index}` }));
  await Promise.all(
    pages.map(async (page, index) => {
      await page.goto(`${server.url}/sdk/redred.js`);
      const token = await server.token({ sub: `crowd-${index}` });
      await page.evaluate((about) => globalThis.client.join(about), { token, stream });
    }),
  );
  const plis = () => publisher.evaluate(async () => (await globalThis.sent()).reduce((sum, each) => sum + each.pliCount, 0));
  const before = await plis();
  const began = Date.now();
  await Promise.all(pages.map((page) => page.evaluate(() => globalThis.client.watch())));
  await Promise.all(pages.map((page) => decodes(page)));
  const asked = (await plis()) - before;
  const seconds = (Date.now() - began) / 1000;
  t.diagnostic(`${asked} keyframe requests in ${seconds.toFixed(1)} s for 4 viewers`);
  assert.ok(asked <= Math.ceil(seconds) + 1, `at most one a second: ${asked} in ${seconds} s`);
});
