// People around a stream: counts, comments, and moderation that cuts media and chat at once.

import assert from 'node:assert/strict';

import { decodes, events, publisherPage, sdkPage, viewerPage } from '../harness/media.js';
import { Socket } from '../harness/socket.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'room' });

const CAMERA = { source: { audio: true, video: { width: 640, height: 360 } }, options: { codec: 'vp8', simulcast: false } };

const publisherGrants = (stream) => ({ publish: [stream], watch: ['*'], chat: ['*'], moderate: [stream] });
const count = (page) => page.evaluate(() => globalThis.client.live.state.viewers);
const peerStates = (page) => page.evaluate(() => globalThis.peers.map((peer) => peer.connectionState));
const last = async (page, type) => (await events(page, type)).at(-1)?.data;

/** The connection of a page is closed for good, or media of it is. */
async function cut(viewer) {
  await until('the media connection is closed', async () =>
    (await peerStates(viewer)).every((state) => ['closed', 'disconnected', 'failed'].includes(state)));
  await until('the viewer is told', async () => {
    const told = await viewer.evaluate(() => globalThis.client.states.at(-1)?.viewer);
    return told === 'stopped' || (await last(viewer, 'closed'))?.code === 4503;
  });
}

scenario('the viewer count follows who watches', async ({ t, server, open }) => {
  const stream = 'count';
  const publisher = await publisherPage(open, server, { stream, publish: CAMERA });
  const vera = await viewerPage(open, server, { stream, user: 'vera' });
  const vito = await viewerPage(open, server, { stream, user: 'vito' });
  for (const page of [publisher, vera, vito]) await until('two watch', async () => (await count(page)) === 2);
  await until('the directory says so too', async () => {
    const { streams } = await server.json('/api/v1/streams');
    return streams.find(({ id }) => id === stream)?.viewers === 2;
  });
  await vito.close();
  const left = Date.now();
  for (const page of [publisher, vera]) {
    await until('one watches', async () => (await count(page)) === 1, { within_ms: 60_000 });
  }
  t.diagnostic(`a closed page is noticed after ${Date.now() - left} ms`);
});

scenario('a comment reaches everyone once, with its sender, and those who come later', async ({ server, open }) => {
  const stream = 'comments';
  const publisher = await publisherPage(open, server, { stream, grants: publisherGrants(stream), publish: CAMERA });
  const vera = await sdkPage(open, server, { stream, user: 'vera' });
  const said = await vera.evaluate(() => globalThis.client.live.comment('hola, ¿qué tal? 👋'));
  for (const page of [publisher, vera]) {
    const comment = await until('the comment', () => last(page, 'comment'));
    assert.equal(comment.id, said.id);
    assert.equal(comment.text, 'hola, ¿qué tal? 👋');
    assert.deepEqual(comment.user, { id: 'vera', name: 'vera', role: 'viewer' });
    assert.equal((await events(page, 'comment')).length, 1);
  }
  const late = await sdkPage(open, server, { stream, user: 'late' });
  const before = await late.evaluate(() => globalThis.client.live.state.comments.map(({ text }) => text));
  assert.deepEqual(before, ['hola, ¿qué tal? 👋']);

  await publisher.evaluate((id) => globalThis.client.live.deleteComment(id), said.id);
  for (const page of [publisher, vera, late]) await until('deleted', async () => (await last(page, 'comment_deleted'))?.id === said.id);
});

scenario('a kicked viewer loses media at once and may come back after half a minute', async ({ server, open }) => {
  const stream = 'kick';
  const publisher = await publisherPage(open, server, { stream, grants: publisherGrants(stream), publish: CAMERA });
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  const bystander = await viewerPage(open, server, { stream, user: 'vito' });
  await decodes(viewer);
  await decodes(bystander);
  await publisher.evaluate(() => globalThis.client.live.kick('vera', 'enough'));
  await cut(viewer);
  const early = await Socket.open(server, '/ws', { token: await server.token({ sub: 'vera' }) });
  const { type, data } = await early.request('subscribe', { channel: `live:${stream}` });
  early.close();
  assert.deepEqual([type, data.code, data.reason], ['error', 'forbidden', 'kicked']);
  assert.ok(data.retry_after_ms > 0 && data.retry_after_ms <= 30_000);
  // The SDK waits that long and is let in.
  await decodes(await viewerPage(open, server, { stream, user: 'vera' }));
  assert.deepEqual(await peerStates(bystander), ['connected'], 'nobody else noticed');
});

scenario('a ban cuts media and chat and survives a reconnect with a new token', async ({ server, open }) => {
  const stream = 'ban';
  const publisher = await publisherPage(open, server, { stream, grants: publisherGrants(stream), publish: CAMERA });
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  await decodes(viewer);
  await publisher.evaluate(() => globalThis.client.live.ban('vera', 'enough'));
  await cut(viewer);
  await assert.rejects(sdkPage(open, server, { stream, user: 'vera' }), /forbidden|closed/);

  const token = await server.token({ sub: 'vera' });
  const whep = await fetch(`${server.url}/whep/${stream}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/sdp' },
    body: await offer(publisher),
  });
  assert.equal(whep.status, 403, 'WHEP is no way around it');

  await publisher.evaluate(() => globalThis.client.live.unban('vera'));
  const back = await viewerPage(open, server, { stream, user: 'vera' });
  await decodes(back);
});

scenario('slow mode and a time-out bind viewers and say for how long', async ({ server, open }) => {
  const stream = 'slow';
  const publisher = await publisherPage(open, server, { stream, grants: publisherGrants(stream), publish: CAMERA });
  const vera = await sdkPage(open, server, { stream, user: 'vera' });
  const comment = (page, text) =>
    page.evaluate(
      (each) => globalThis.client.live.comment(each).then(() => 'said', ({ code, retryAfterMs }) => ({ code, retryAfterMs })),
      text,
    );
  await publisher.evaluate(() => globalThis.client.live.slowMode(30));
  assert.equal(await comment(vera, 'one'), 'said');
  const refused = await comment(vera, 'two');
  assert.equal(refused.code, 'rate_limited');
  assert.ok(refused.retryAfterMs > 0 && refused.retryAfterMs <= 30_000, JSON.stringify(refused));
  assert.equal(await comment(publisher, 'one'), 'said');
  assert.equal(await comment(publisher, 'two'), 'said', 'the streamer is exempt');
  await publisher.evaluate(() => globalThis.client.live.slowMode(0));
  await publisher.evaluate(() => globalThis.client.live.timeout('vera', 600, 'calm down'));
  assert.equal((await comment(vera, 'three')).code, 'forbidden');
});

scenario('reactions are counted together', async ({ server, open }) => {
  const stream = 'hearts';
  await publisherPage(open, server, { stream, publish: CAMERA });
  const vera = await viewerPage(open, server, { stream, user: 'vera' });
  const vito = await sdkPage(open, server, { stream, user: 'vito' });
  await vera.evaluate(() => globalThis.client.live.react('❤️'));
  const update = await until('reactions_update', () => last(vito, 'reactions_update'));
  assert.equal(update.counts['❤️'], 1);
});

/** A receive-only offer as any WHEP player makes one. */
async function offer(page) {
  return page.evaluate(async () => {
    const peer = new RTCPeerConnection();
    peer.addTransceiver('video', { direction: 'recvonly' });
    const { sdp } = await peer.createOffer();
    peer.close();
    return sdp;
  });
}
