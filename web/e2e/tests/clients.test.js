// Clients that are not browsers: FFmpeg's WHIP muxer publishes, aiortc watches over WHEP.

import assert from 'node:assert/strict';

import { decodes, events, playsWithoutFreeze, publisherPage, received, viewerPage } from '../harness/media.js';
import { python } from '../harness/python.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'clients' });

scenario('Chromium watches what FFmpeg publishes over WHIP', async ({ t, server, open, defer }) => {
  const stream = 'ffmpeg';
  const token = await server.token({ sub: 'ffmpeg', grants: { publish: [stream] } });
  const publisher = python('whip_ffmpeg', [`${server.url}/whip/${stream}`, token]);
  defer(publisher.stop);
  await publisher.event('publishing', ({ event }) => event === 'publishing');
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  await decodes(viewer, { width: 640, height: 360, codec: 'h264' });
  t.diagnostic(JSON.stringify(await playsWithoutFreeze(viewer)));
  await until('sound too', async () => (await received(viewer, 'audio'))?.packetsReceived > 50);

  await publisher.stop();
  await until('its DELETE ends the stream', async () => (await events(viewer, 'stream_ended')).length === 1, { within_ms: 30_000 });
});

scenario('a WHIP publisher that breaks comes back by a new POST and viewers go on', async ({ server, open, defer }) => {
  const stream = 'ffmpeg-again';
  const token = await server.token({ sub: 'ffmpeg', grants: { publish: [stream] } });
  const first = python('whip_ffmpeg', [`${server.url}/whip/${stream}`, token]);
  defer(first.stop);
  await first.event('publishing', ({ event }) => event === 'publishing');
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  await decodes(viewer);

  first.kill('SIGKILL');
  const second = await until('the stream may be taken up', async () => {
    const next = python('whip_ffmpeg', [`${server.url}/whip/${stream}`, token]);
    // Until the server has missed the first one for two seconds, this is a conflict and the program ends.
    return next.event('publishing', ({ event }) => event === 'publishing').then(() => next, () => null);
  });
  defer(second.stop);
  const before = (await received(viewer)).framesDecoded;
  await until('frames go on', async () => (await received(viewer)).framesDecoded > before + 30);
  assert.equal(await viewer.evaluate(() => globalThis.peers.length), 1, 'the viewer kept its connection');
  assert.deepEqual(await events(viewer, 'stream_ended'), []);
});

for (const codec of ['vp8', 'h264']) {
  scenario(`aiortc decodes over WHEP what Chromium publishes in ${codec}`, async ({ t, server, open, defer }) => {
    const stream = `whep-${codec}`;
    await publisherPage(open, server, {
      stream,
      publish: { source: { audio: true, video: { width: 640, height: 360 } }, options: { codec, simulcast: false } },
    });
    const viewer = python('whep_aiortc', [`${server.url}/whep/${stream}`, await server.token({ sub: 'aio' })]);
    defer(viewer.stop);
    const { etag, location } = await viewer.event('answered', ({ event }) => event === 'answered');
    assert.ok(etag && location);
    const video = await viewer.event('60 frames', ({ event, frames }) => event === 'video' && frames > 60, { within_ms: 40_000 });
    await viewer.event('sound', ({ event, frames }) => event === 'audio' && frames > 50);
    t.diagnostic(JSON.stringify(video));
    assert.equal(video.width, 640);
    await until('it counts as a viewer', async () => (await server.json(`/api/v1/streams/${stream}`)).viewers === 1);
    await viewer.stop();
    const { status } = viewer.events.find(({ event }) => event === 'deleted');
    assert.ok(status >= 200 && status < 300, `DELETE: ${status}`);
    await until('and leaves', async () => (await server.json(`/api/v1/streams/${stream}`)).viewers === 0);
  });
}

scenario('a stream that is not live answers a WHEP viewer with 404', async ({ server, defer }) => {
  const viewer = python('whep_aiortc', [`${server.url}/whep/nobody`, await server.token({ sub: 'aio' })]);
  defer(viewer.stop);
  const refused = await viewer.event('refused', ({ event }) => event === 'refused');
  assert.equal(refused.status, 404);
});
