// What tests say about pages that publish and watch.

import assert from 'node:assert/strict';

import { until } from './wait.js';

export const received = (page, kind = 'video') => page.evaluate((each) => globalThis.received(each), kind);
export const sent = (page, kind = 'video') => page.evaluate((each) => globalThis.sent(each), kind);
export const events = (page, type) =>
  page.evaluate((wanted) => globalThis.client.events.filter((event) => event.type === wanted), type);

/** A page of the SDK alone: the server's origin, none of the app. */
export async function sdkPage(open, server, { user, stream, grants, ...options }) {
  const page = await open({ name: user, ...options });
  await page.goto(`${server.url}/sdk/redred.js`);
  page.user = user;
  page.token = await server.token({ sub: user, name: user, ...(grants && { grants }) });
  await page.evaluate((about) => globalThis.client.join(about), { token: page.token, stream });
  return page;
}

export async function publisherPage(open, server, { stream, user = stream, grants, publish = {}, ...options }) {
  const page = await sdkPage(open, server, {
    user,
    stream,
    grants: grants ?? { publish: [stream], watch: ['*'], chat: ['*'] },
    ...options,
  });
  await page.evaluate((about) => globalThis.client.publish(about), publish);
  return page;
}

export async function viewerPage(open, server, { stream, user, watch = {}, ...options }) {
  const page = await sdkPage(open, server, { user, stream, ...options });
  await page.evaluate((about) => globalThis.client.watch(about), watch);
  return page;
}

/** Waits until the page decodes pictures of at least this size. */
export function decodes(page, { width = 1, height = 1, codec, ...options } = {}) {
  return until(
    `decoding ${width}x${height} or more`,
    async () => {
      const stats = await received(page);
      const found = stats?.framesDecoded > 5 && stats.frameWidth >= width && stats.frameHeight >= height;
      const seen = {
        decoded: stats?.framesDecoded,
        size: `${stats?.frameWidth}x${stats?.frameHeight}`,
        packets: stats?.packetsReceived,
        codec: stats?.codec,
      };
      if (!found) throw new Error(JSON.stringify(seen));
      if (codec) assert.equal(stats.codec?.toLowerCase(), codec);
      return stats;
    },
    { within_ms: 30_000, ...options },
  );
}

/**
 * Watches the page play for some seconds and returns what it saw. A freeze is a gap of half a second between frames.
 * What the browser counts as one is reported and not judged: it starts at 180 ms, and a machine whose two cores run
 * the encoder, the decoder and the server at once takes that long a breath now and then.
 */
export async function playsWithoutFreeze(page, { seconds = 10 } = {}) {
  const before = await received(page);
  await page.evaluate(() => globalThis.frames.start());
  await page.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), seconds * 1000);
  const shown = await page.evaluate(() => globalThis.frames.read());
  const after = await received(page);
  const seen = {
    codec: after.codec,
    size: `${after.frameWidth}x${after.frameHeight}`,
    decoded: after.framesDecoded - before.framesDecoded,
    shown: shown.frames,
    longest_gap_ms: Math.round(shown.gap),
    freezes: (after.freezeCount ?? 0) - (before.freezeCount ?? 0),
  };
  const told = JSON.stringify(seen);
  assert.ok(seen.decoded >= seconds * 10, `at least ten frames a second: ${told}`);
  assert.ok(seen.longest_gap_ms < 500, `no freeze: ${told}`);
  return seen;
}

/**
 * Like `playsWithoutFreeze`, for pages that share two cores with three encoders: the picture may stutter, not stop.
 */
export async function playsSteadily(page, { seconds = 5, gap_ms = 1500 } = {}) {
  await page.evaluate(() => globalThis.frames.start());
  await page.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), seconds * 1000);
  const { frames, gap } = await page.evaluate(() => globalThis.frames.read());
  const told = JSON.stringify({ frames, seconds, longest_gap_ms: Math.round(gap) });
  assert.ok(frames > seconds * 5 && gap < gap_ms, `plays steadily: ${told}`);
  return told;
}

/** Waits until more frames are decoded than have been so far. */
export async function goesOn(page, options) {
  const before = (await received(page))?.framesDecoded ?? 0;
  return until(
    `decoding more than ${before} frames`,
    async () => {
      const now = (await received(page))?.framesDecoded ?? 0;
      return now > before + 5 && now;
    },
    options,
  );
}

export const percentile = (values, share) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];
