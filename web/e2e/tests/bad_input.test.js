// Each mistake gets the contract's error, and what others do goes on.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';

import { decodes, goesOn, publisherPage, viewerPage } from '../harness/media.js';
import { Socket } from '../harness/socket.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const SECRET = 'a secret of the tests, 32 bytes and more';
const { scenario } = suite({ name: 'bad-input', server: { env: { REDRED_AUTH__SECRET: SECRET } } });

const CAMERA = { source: { audio: true, video: { width: 640, height: 360 } }, options: { codec: 'vp8', simulcast: false } };

/** Runs `steps` while one stream is published and watched, and then sees that both still do. */
function besideAStream(title, stream, steps) {
  scenario(title, async (tools) => {
    const { server, open } = tools;
    const publisher = await publisherPage(open, server, { stream, publish: CAMERA });
    const viewer = await viewerPage(open, server, { stream, user: 'vera' });
    await decodes(viewer);
    await steps({ ...tools, publisher, viewer });
    await goesOn(viewer);
    assert.equal(await viewer.evaluate(() => globalThis.peers.length), 1, 'the viewer never reconnected');
    assert.equal(await publisher.evaluate(() => globalThis.peers.length), 1, 'the publisher never reconnected');
  });
}

const post = (server, path, body, headers) => fetch(server.url + path, { method: 'POST', body, headers });
const sdp = (token) => ({ authorization: `Bearer ${token}`, 'content-type': 'application/sdp' });

async function problem(answer, status) {
  const text = await answer.text();
  assert.equal(answer.status, status, text);
  assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/);
  return JSON.parse(text);
}

/** A publishing offer of a browser, never used to connect. */
const offerOf = (page) =>
  page.evaluate(async () => {
    const peer = new (Object.getPrototypeOf(RTCPeerConnection))();
    peer.addTransceiver('video', { direction: 'sendonly' });
    const { sdp: text } = await peer.createOffer();
    peer.close();
    return text;
  });

besideAStream('WHIP refuses what is malformed, unauthorised, not granted, or second', 'whip-faults', async ({ server, publisher }) => {
  const good = await server.token({ sub: 'ana', grants: { publish: ['whip-faults', 'other'] } });
  const none = await server.token({ sub: 'bea' });
  const offer = await offerOf(publisher);
  const path = '/whip/other';

  await problem(await post(server, path, offer, { 'content-type': 'application/sdp' }), 401);
  await problem(await post(server, path, offer, sdp('not.a.token')), 401);
  await problem(await post(server, path, offer, sdp(none)), 403);
  await problem(await post(server, path, offer, { ...sdp(good), 'content-type': 'text/plain' }), 415);
  for (const body of ['', 'v=0', 'not sdp at all', offer.slice(0, 300), offer.replace(/^m=.*$/gm, 'm=video nonsense')]) {
    const { detail, title } = await problem(await post(server, path, body, sdp(good)), 400);
    assert.ok(detail ?? title);
  }
  const alien = offer.replace(/a=rtpmap:(\d+) [A-Za-z0-9]+\/90000/g, 'a=rtpmap:$1 THEORA/90000');
  await problem(await post(server, path, alien, sdp(good)), 406);
  await problem(await post(server, path, 'x'.repeat(70_000), sdp(good)), 413);
  await problem(await post(server, '/whip/whip-faults', offer, sdp(good)), 409);
  for (const method of ['PATCH', 'DELETE']) {
    const unknown = await fetch(`${server.url}/whip/resource/${'0'.repeat(32)}`, {
      method,
      headers: { authorization: `Bearer ${good}`, 'content-type': 'application/trickle-ice-sdpfrag' },
      ...(method === 'PATCH' && { body: 'a=ice-ufrag:x\r\n' }),
    });
    assert.equal(unknown.status, 404, method);
  }
});

besideAStream('WHEP refuses what is malformed, unauthorised or not live', 'whep-faults', async ({ server, publisher }) => {
  const token = await server.token({ sub: 'vito' });
  const elsewhere = await server.token({ sub: 'vito', grants: { watch: ['another'] } });
  const offer = (await offerOf(publisher)).replaceAll('a=sendonly', 'a=recvonly');
  await problem(await post(server, '/whep/whep-faults', offer, { 'content-type': 'application/sdp' }), 401);
  await problem(await post(server, '/whep/whep-faults', offer, sdp(elsewhere)), 403);
  await problem(await post(server, '/whep/whep-faults', 'nonsense', sdp(token)), 400);
  await problem(await post(server, '/whep/nobody', offer, sdp(token)), 404);
});

scenario('OPTIONS and CORS say what a WHIP client needs to read', async ({ server }) => {
  for (const path of ['/whip/any', '/whep/any']) {
    const answer = await fetch(server.url + path, {
      method: 'OPTIONS',
      headers: { origin: server.url, 'access-control-request-method': 'POST' },
    });
    assert.ok(answer.status >= 200 && answer.status < 300, `${path}: ${answer.status}`);
    const methods = answer.headers.get('access-control-allow-methods') ?? '';
    for (const method of ['POST', 'PATCH', 'DELETE', 'OPTIONS']) assert.ok(methods.includes(method), `${path}: ${methods}`);
  }
});

const base64url = (value) => Buffer.from(value).toString('base64url');

function sign(claims, { header = { alg: 'HS256', typ: 'JWT' }, secret = SECRET } = {}) {
  const body = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}`;
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

scenario('bad tokens are refused before the upgrade', async ({ server }) => {
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: 'ana', name: 'Ana', exp: now + 600 };
  const opened = await Socket.open(server, '/ws', { token: sign(claims) });
  await opened.message('connection_established');
  opened.close();

  const bad = {
    nothing: undefined,
    garbage: 'garbage',
    expired: sign({ ...claims, exp: now - 3600 }),
    'not yet valid': sign({ ...claims, nbf: now + 3600 }),
    'no expiry': sign({ sub: 'ana', name: 'Ana' }),
    'another secret': sign(claims, { secret: 'another secret, also of 32 bytes and more' }),
    'alg none': `${base64url('{"alg":"none","typ":"JWT"}')}.${base64url(JSON.stringify(claims))}.`,
    'alg HS512': sign(claims, { header: { alg: 'HS512', typ: 'JWT' } }),
    'no subject': sign({ name: 'Ana', exp: now + 600 }),
    'a subject with a space': sign({ ...claims, sub: 'a b' }),
    'a subject too long': sign({ ...claims, sub: 'a'.repeat(65) }),
    'a numeric subject': sign({ ...claims, sub: 7 }),
  };
  for (const [what, token] of Object.entries(bad)) {
    await assert.rejects(Socket.open(server, '/ws', { token }), ({ status }) => status === 401, what);
  }
  await assert.rejects(
    Socket.open(server, '/ws/live/ana/', { token: sign({ ...claims, grants: { watch: [], chat: [] } }) }),
    ({ status }) => status === 403,
    'a channel that is not granted',
  );
});

scenario('another site cannot use a visitor’s session', async ({ server }) => {
  const token = await server.token({ sub: 'ana' });
  const { port } = server;
  for (const origin of [
    'http://evil.example',
    `http://127.0.0.1.evil.example:${port}`,
    `http://127.0.0.1:${port + 1}`,
    `https://127.0.0.1:${port}`,
    'null',
  ]) {
    await assert.rejects(Socket.open(server, '/ws', { token, origin }), ({ status }) => status === 403, origin);
  }
  (await Socket.open(server, '/ws', { token, origin: server.url })).close();
});

besideAStream('malformed messages are answered by errors and the connection stays', 'envelopes', async ({ server }) => {
  const socket = await Socket.open(server, '/ws/live/envelopes/', { token: await server.token({ sub: 'ana' }) });
  await socket.message('subscribed');
  const errors = () => socket.messages.filter(({ type }) => type === 'error');
  const answered = async (sent, code) => {
    const before = errors().length;
    socket.send(sent);
    await until(`an error for ${JSON.stringify(sent).slice(0, 80)}`, () => errors().length > before, { every_ms: 20 });
    assert.equal(errors().at(-1).data.code, code, JSON.stringify(sent).slice(0, 80));
  };
  await answered('{', 'bad_message');
  await answered('[]', 'bad_message');
  await answered('{"type":7,"data":{}}', 'invalid_field');
  await answered({ type: 'no_such_thing', data: {} }, 'unknown_type');
  await answered({ type: 'comment', data: { text: 7 } }, 'invalid_field');
  await answered({ type: 'comment', data: { text: '', client_id: crypto.randomUUID() } }, 'invalid_field');
  await answered({ type: 'comment', data: { text: 'x'.repeat(501), client_id: crypto.randomUUID() } }, 'invalid_field');
  await answered({ type: 'ban', data: { user_id: 'vera' } }, 'forbidden');
  await answered({ type: 'start_stream', data: { title: 'mine now' } }, 'forbidden');
  await answered({ type: 'end_stream', data: {} }, 'forbidden');
  assert.equal(socket.closed, null, 'the connection stays');
  const { type } = await socket.request('comment', { text: 'still here', client_id: crypto.randomUUID() });
  assert.equal(type, 'ack');
  socket.close();
});

scenario('messages over the limit close with 1009, however they are cut', async ({ server }) => {
  const token = await server.token({ sub: 'ana' });
  const whole = await Socket.open(server, '/ws', { token });
  whole.send(JSON.stringify({ type: 'ping', data: { padding: 'x'.repeat(70_000) } }));
  await until('closed', () => whole.closed);
  assert.equal(whole.closed.code, 1009);

  const pieces = await Socket.open(server, '/ws', { token });
  for (let index = 0; index < 40 && !pieces.closed; index += 1) {
    pieces.inner.send('x'.repeat(4000), { fin: false, binary: false, compress: false }, () => {});
  }
  await until('closed', () => pieces.closed);
  assert.equal(pieces.closed.code, 1009);

  // Little on the wire, too much once inflated: that is known when the message is whole.
  const inflating = await Socket.open(server, '/ws', { token });
  for (let index = 0; index < 40; index += 1) {
    inflating.inner.send('x'.repeat(4000), { fin: index === 39, binary: false }, () => {});
  }
  await until('closed', () => inflating.closed);
  assert.equal(inflating.closed.code, 1009);
});

besideAStream('a second publisher over the WebSocket is refused with conflict', 'taken', async ({ server }) => {
  const token = await server.token({ sub: 'rival', grants: { publish: ['taken'] } });
  const rival = await Socket.open(server, '/ws/live/taken/', { token });
  await rival.message('subscribed');
  const { type, data } = await rival.request('start_stream', { title: 'mine' });
  assert.equal(type, 'error');
  assert.equal(data.code, 'conflict');
  rival.close();
});
