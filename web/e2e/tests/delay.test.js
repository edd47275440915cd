// Glass to glass: a clock drawn into the picture at the publisher, read from the picture at the viewer. Reported, not
// judged, but it must move: a measurement that cannot show a stall measures nothing.

import assert from 'node:assert/strict';

import { decodes, percentile, publisherPage, viewerPage } from '../harness/media.js';
import { suite } from '../harness/suite.js';

const { scenario } = suite({ name: 'delay' });

scenario('the delay from glass to glass', async ({ t, server, open }) => {
  const stream = 'clock';
  await publisherPage(open, server, {
    stream,
    publish: { canvas: [640, 360], options: { codec: 'vp8', simulcast: false } },
  });
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  await decodes(viewer, { width: 640, height: 360 });
  const delays = await viewer.evaluate(() => globalThis.clock.measure(150));
  const p = (share) => percentile(delays, share);
  t.diagnostic(`glass to glass over ${delays.length} frames: p50 ${p(0.5)} ms, p95 ${p(0.95)} ms, max ${p(1)} ms`);

  const measured = viewer.evaluate(() => globalThis.clock.measure(60));
  server.child.kill('SIGSTOP');
  await viewer.evaluate(() => new Promise((done) => setTimeout(done, 700)));
  server.child.kill('SIGCONT');
  const stalled = percentile(await measured, 1);
  t.diagnostic(`with the server stopped for 700 ms: max ${stalled} ms`);
  assert.ok(stalled > p(0.95) + 200, `the clock sees a stall: ${stalled} ms`);
});
