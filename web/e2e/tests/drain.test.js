// SIGTERM: not ready any more, clients told to come back, media kept for the grace time, exit 0.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Chromium } from '../harness/browsers.js';
import { decodes, publisherPage, received, viewerPage } from '../harness/media.js';
import { Server } from '../harness/server.js';
import { until } from '../harness/wait.js';

const CAMERA = { source: { audio: true, video: { width: 640, height: 360 } }, options: { codec: 'vp8', simulcast: false } };

test('SIGTERM drains and ends with exit 0, a second signal ends at once', { timeout: 90_000 }, async (t) => {
  const server = await Server.start({ name: 'drain' });
  const chromium = await Chromium.launch();
  t.after(async () => {
    await chromium.close();
    await server.remove();
  });
  const open = (options) => chromium.page(options);
  const stream = 'drained';
  const publisher = await publisherPage(open, server, { stream, publish: CAMERA });
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  await decodes(viewer);

  server.child.kill('SIGTERM');
  await until('not ready', async () => (await fetch(`${server.url}/readyz`).catch(() => ({ status: 503 }))).status === 503);
  const before = (await received(viewer))?.framesDecoded;
  await until('media goes on meanwhile', async () => (await received(viewer))?.framesDecoded > before + 10, { within_ms: 4000 });
  const began = Date.now();
  const end = await server.exited;
  t.diagnostic(`exit ${JSON.stringify(end)} after ${Date.now() - began} ms more`);
  assert.equal(end.code, 0, server.tail());

  // The server comes back at the same address with the same store, and so do both clients, by themselves.
  await server.launch();
  await until('the publisher is back', () => publisher.evaluate(() => globalThis.client.publisher.state === 'live'), { within_ms: 45_000 });
  await until('the viewer plays again', () => viewer.evaluate(() => globalThis.client.viewer.state === 'playing'), { within_ms: 45_000 });
  await decodes(viewer);

  server.child.kill('SIGTERM');
  await until('not ready', async () => (await fetch(`${server.url}/readyz`).catch(() => ({ status: 503 }))).status === 503);
  const second = Date.now();
  server.child.kill('SIGTERM');
  await server.exited;
  assert.ok(Date.now() - second < 2000, `a second signal ends at once: ${Date.now() - second} ms`);
});
