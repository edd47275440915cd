import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Connection } from '../connection.js';
import { FakeClock, FakeServer, settled, tokenUntil } from './fakes.js';

/** A connection and the server it talks to, before the first session. */
async function begin(options = {}) {
  const clock = new FakeClock();
  const server = new FakeServer();
  const connection = new Connection({
    token: 'a.b.c',
    url: 'https://live.example',
    WebSocket: server.WebSocket,
    clock,
    random: () => 1,
    ...options,
  });
  const states = [];
  connection.on('state', (change) => states.push(change));
  const connected = connection.connect();
  connected.catch(() => {});
  await settled();
  return { clock, server, connection, states, connected };
}

/** The same with a session. */
async function open(options) {
  const all = await begin(options);
  all.server.establish();
  await settled();
  return all;
}

test('the token travels as a subprotocol', async () => {
  const { server } = await begin();
  assert.equal(server.socket.url, 'wss://live.example/ws');
  assert.deepEqual(server.socket.protocols, ['redred.v1', 'redred.token.a.b.c']);
});

test('connect resolves with the session', async () => {
  const { server, connected, connection } = await begin();
  assert.equal(connection.state, 'connecting');
  server.establish();
  assert.equal((await connected).user_id, 'u1');
  assert.equal(connection.state, 'open');
});

test('a request is settled by its reply, once', async () => {
  const { server, connection } = await open();
  const reply = connection.request('comment', { text: 'hi' }, { channel: 'live:ana' });
  const [message] = server.sent('comment');
  assert.equal(message.metadata.channel, 'live:ana');
  server.say('ack', { id: 'c1' }, { reply_to: message.metadata.id });
  server.say('error', { code: 'conflict', message: 'late', retryable: false }, { reply_to: message.metadata.id });
  assert.deepEqual(await reply, { id: 'c1' });
});

test('an error reply rejects with its code, its reason and its wait', async () => {
  const { server, connection } = await open();
  const reply = connection.request('comment', {});
  server.say(
    'error',
    { code: 'rate_limited', message: 'slow mode', retryable: true, retry_after_ms: 3000, reason: 'slow_mode' },
    { reply_to: server.sent('comment')[0].metadata.id },
  );
  await assert.rejects(reply, { code: 'rate_limited', retryable: true, retryAfterMs: 3000, reason: 'slow_mode' });
});

test('an error that answers nothing is an event', async () => {
  const { server, connection } = await open();
  const errors = [];
  connection.on('error', (error) => errors.push(error.code));
  server.say('error', { code: 'bad_message', message: 'not JSON', retryable: false });
  assert.deepEqual(errors, ['bad_message']);
});

test('a request without a reply times out', async () => {
  const { clock, connection } = await open();
  const reply = connection.request('comment', {});
  const rejected = assert.rejects(reply, { code: 'timeout', retryable: true });
  await clock.advance(10_000);
  await rejected;
});

test('a request made without a connection is sent when there is one', async () => {
  const { server, connection } = await begin();
  const reply = connection.request('comment', { text: 'hi' });
  assert.equal(server.sent('comment').length, 0);
  server.establish();
  server.ack('comment', { id: 'c1' });
  assert.deepEqual(await reply, { id: 'c1' });
});

test('a request that was on its way when the connection broke is rejected', async () => {
  const { server, connection } = await open();
  const reply = connection.request('comment', { text: 'hi' });
  server.drop();
  await assert.rejects(reply, { code: 'disconnected', retryable: true });
});

test('waits double with every failure up to a ceiling', async () => {
  const { clock, server, states } = await begin();
  for (let tries = 0; tries < 8; tries += 1) {
    server.drop();
    await clock.advance(states.at(-1).delayMs);
  }
  const waits = states.filter(({ state }) => state === 'waiting').map(({ delayMs }) => delayMs);
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
});

test('jitter draws from the whole range', async () => {
  const { server, states } = await begin({ random: () => 0.5 });
  server.drop();
  assert.equal(states.at(-1).delayMs, 250);
});

test('a connection that breaks soon after it opened does not reset the waits', async () => {
  const { clock, server, states } = await begin();
  for (let tries = 0; tries < 3; tries += 1) {
    server.establish();
    await clock.advance(1000);
    server.drop();
    await clock.advance(states.at(-1).delayMs);
  }
  assert.equal(states.filter(({ state }) => state === 'waiting').at(-1).delayMs, 2000);
});

test('a connection that was useful resets the waits', async () => {
  const { clock, server, states } = await begin();
  server.drop();
  await clock.advance(500);
  server.drop();
  await clock.advance(1000);
  server.establish();
  await clock.advance(10_000);
  server.drop();
  assert.equal(states.at(-1).delayMs, 500);
});

for (const code of [1000, 1001, 1006, 1009, 4001, 4002, 4008, 4029, 4041, 4499]) {
  test(`close code ${code} comes back`, async () => {
    const { clock, server, connection } = await open();
    server.drop(code);
    assert.equal(connection.state, 'waiting');
    await clock.advance(6000);
    assert.equal(server.sockets.length, 2);
  });
}

for (const code of [4500, 4501, 4503, 4509, 4529, 4999]) {
  test(`close code ${code} stays away`, async () => {
    const { clock, server, connection } = await open();
    const closed = [];
    connection.on('closed', (detail) => closed.push(detail));
    const reply = connection.request('comment', {});
    server.drop(code, 'why');
    await assert.rejects(reply, { code: 'closed', closeCode: code });
    await clock.advance(60_000);
    assert.equal(connection.state, 'closed');
    assert.deepEqual(closed, [{ code, reason: 'why' }]);
    assert.equal(server.sockets.length, 1);
  });
}

test('connect rejects when the server says to stay away', async () => {
  const { server, connected } = await begin();
  server.drop(4501, 'not authorised');
  await assert.rejects(connected, { code: 'closed', closeCode: 4501 });
});

test('a draining server names the wait', async () => {
  const { server, states } = await open();
  server.say('draining', { reconnect_after_ms: 7321 });
  server.drop(4001);
  assert.equal(states.at(-1).delayMs, 7321);
});

test('one that asks too often stays away for a while', async () => {
  const { server, states } = await open();
  server.drop(4029);
  assert.ok(states.at(-1).delayMs >= 5000);
});

test('the next connection resumes the session', async () => {
  const { clock, server, connection } = await open();
  const resumed = [];
  connection.on('established', (session) => resumed.push(session.resumed));
  server.drop();
  await clock.advance(500);
  assert.equal(new URL(server.socket.url).searchParams.get('resume'), 'r1');
  server.establish({ resumed: true });
  server.drop();
  await clock.advance(1000);
  server.establish();
  assert.deepEqual(resumed, [true, false]);
});

test('subscriptions come back with their position, before what waits', async () => {
  const { clock, server, connection } = await open();
  connection.subscribe('live:ana');
  assert.deepEqual(server.sent('subscribe')[0].data, { channel: 'live:ana' });
  server.say('subscribed', { channel: 'live:ana', epoch: 'e', seq: 7, recovered: false, state: {} });
  server.say('comment', { id: 'c8' }, { channel: 'live:ana', epoch: 'e', seq: 8 });
  server.drop();
  connection.request('comment', { text: 'later' }).catch(() => {});
  await clock.advance(500);
  server.establish();
  assert.deepEqual(
    server.socket.sent.map(({ type }) => type),
    ['subscribe', 'comment'],
  );
  assert.deepEqual(server.sent('subscribe')[0].data, { channel: 'live:ana', since: { epoch: 'e', seq: 8 } });
});

test('what was missed follows in order, and repeats are dropped', async () => {
  const { clock, server, connection } = await open();
  const seen = [];
  const subscription = connection.subscribe('live:ana');
  subscription.on('message', ({ data }) => seen.push(data.id));
  const say = (seq, id = `c${seq}`) => server.say('comment', { id }, { channel: 'live:ana', epoch: 'e', seq });
  server.say('subscribed', { channel: 'live:ana', epoch: 'e', seq: 1, recovered: false, state: {} });
  say(2);
  server.drop();
  await clock.advance(500);
  server.establish();
  server.say('subscribed', { channel: 'live:ana', epoch: 'e', seq: 4, recovered: true, state: {} });
  for (const seq of [2, 3, 4, 4, 5]) say(seq);
  assert.deepEqual(seen, ['c2', 'c3', 'c4', 'c5']);
});

test('a gap is asked for again and nothing is delivered out of order', async () => {
  const { server, connection } = await open();
  const seen = [];
  connection.subscribe('live:ana').on('message', ({ data }) => seen.push(data.id));
  const say = (seq) => server.say('comment', { id: `c${seq}` }, { channel: 'live:ana', epoch: 'e', seq, id: `m${seq}` });
  server.say('subscribed', { channel: 'live:ana', epoch: 'e', seq: 0, recovered: false, state: {} });
  for (const seq of [1, 3, 4]) say(seq);
  assert.deepEqual(seen, ['c1']);
  assert.equal(server.sent('subscribe').length, 2);
  assert.deepEqual(server.sent('subscribe')[1].data.since, { epoch: 'e', seq: 1 });
  server.say('subscribed', { channel: 'live:ana', epoch: 'e', seq: 4, recovered: true, state: {} });
  for (const seq of [2, 3, 4]) say(seq);
  assert.deepEqual(seen, ['c1', 'c2', 'c3', 'c4']);
});

test('a lost history starts anew from what the server says', async () => {
  const { clock, server, connection } = await open();
  const seen = [];
  const subscription = connection.subscribe('live:ana');
  subscription.on('message', ({ data }) => seen.push(data.id));
  server.say('subscribed', { channel: 'live:ana', epoch: 'e', seq: 9, recovered: false, state: {} });
  server.drop();
  await clock.advance(500);
  server.establish();
  server.say('subscribed', { channel: 'live:ana', epoch: 'f', seq: 2, recovered: false, state: {} });
  server.say('comment', { id: 'new' }, { channel: 'live:ana', epoch: 'f', seq: 3 });
  assert.deepEqual(seen, ['new']);
  assert.deepEqual(subscription.position, { epoch: 'f', seq: 3 });
});

test('messages without a place in the order pass, repeats of their id do not', async () => {
  const { server, connection } = await open();
  const seen = [];
  connection.subscribe('live:ana').on('message', ({ data }) => seen.push(data.count));
  server.say('subscribed', { channel: 'live:ana', epoch: 'e', seq: 0, recovered: false, state: {} });
  server.say('viewers_update', { count: 1 }, { channel: 'live:ana' });
  server.say('viewers_update', { count: 2 }, { channel: 'live:ana', id: 'x' });
  server.say('viewers_update', { count: 2 }, { channel: 'live:ana', id: 'x' });
  assert.deepEqual(seen, [1, 2]);
});

test('a refused subscription is reported and not tried again', async () => {
  const { clock, server, connection } = await open();
  const refusals = [];
  connection.subscribe('live:ana').on('refused', (error) => refusals.push(error.code));
  const { id } = server.sent('subscribe')[0].metadata;
  server.say('error', { code: 'forbidden', message: 'banned', retryable: false }, { reply_to: id });
  await settled();
  server.drop();
  await clock.advance(500);
  server.establish();
  assert.deepEqual(refusals, ['forbidden']);
  assert.equal(server.sent('subscribe').length, 0);
});

test('silence is answered by a new connection', async () => {
  const { clock, server, connection } = await open();
  await clock.advance(20_000);
  assert.equal(server.sent('ping').length, 1);
  server.say('pong');
  await clock.advance(20_000);
  assert.equal(connection.state, 'open');
  await clock.advance(20_500);
  assert.equal(server.sockets.length, 2);
  assert.notEqual(server.sockets[0].closedWith, null);
});

test('a ping is answered', async () => {
  const { server } = await open();
  server.say('ping');
  assert.equal(server.sent('pong').length, 1);
});

test('a socket that never gets a session is given up', async () => {
  const { clock, server } = await begin();
  await clock.advance(10_500);
  assert.equal(server.sockets.length, 2);
});

test('the token is refreshed before it ends, on the open connection', async () => {
  const purposes = [];
  let clock;
  const token = ({ purpose }) => {
    purposes.push(purpose);
    return tokenUntil((clock?.now() ?? 1_800_000_000_000) + 3_600_000);
  };
  const all = await open({ token });
  clock = all.clock;
  for (let minutes = 0; minutes < 59 * 3; minutes += 1) {
    await clock.advance(20_000);
    all.server.say('pong');
  }
  assert.deepEqual(purposes, ['connect', 'refresh']);
  assert.equal(all.server.sent('refresh_token').length, 1);
  assert.equal(all.server.sockets.length, 1);
});

test('an expired token is replaced before coming back', async () => {
  const purposes = [];
  const { clock, server } = await open({ token: ({ purpose }) => (purposes.push(purpose), 'a.b.c') });
  server.drop(4041);
  await clock.advance(500);
  assert.deepEqual(purposes, ['connect', 'refresh']);
});

test('a token that cannot be had is asked for again', async () => {
  let tries = 0;
  const token = () => {
    tries += 1;
    if (tries === 1) throw new Error('server down');
    return 'a.b.c';
  };
  const { clock, server, connection } = await begin({ token });
  assert.equal(connection.state, 'waiting');
  await clock.advance(500);
  assert.equal(server.sockets.length, 1);
});

test('a channel that is out of order is asked for again while the others go on', async () => {
  const { clock, server, connection } = await open();
  const subscription = connection.subscribe('chats');
  const refuse = () =>
    server.say(
      'error',
      { code: 'unavailable', message: 'no store', retryable: true },
      { reply_to: server.sent('subscribe').at(-1).metadata.id },
    );
  refuse();
  await clock.advance(500);
  assert.equal(server.sent('subscribe').length, 2);
  refuse();
  await clock.advance(900);
  assert.equal(server.sent('subscribe').length, 2, 'the second wait is longer');
  await clock.advance(100);
  assert.equal(server.sent('subscribe').length, 3);
  assert.equal(connection.state, 'open');
  assert.equal(server.sockets.length, 1);
  server.say('subscribed', { channel: 'chats', epoch: '', seq: 0, recovered: false, state: {} });
  assert.ok(subscription.active);
});

test('closing ends everything and leaves no timer behind', async () => {
  const { clock, server, connection } = await open();
  const reply = connection.request('comment', {});
  connection.close();
  await assert.rejects(reply, { code: 'closed' });
  assert.equal(server.socket.closedWith, 1000);
  assert.deepEqual(clock.pending(), []);
  await assert.rejects(connection.request('comment', {}), { code: 'closed' });
});

test('a message that is not JSON, or of an unknown type, is ignored', async () => {
  const { server, connection } = await open();
  server.socket.onmessage({ data: '{' });
  server.socket.onmessage({ data: 'null' });
  server.say('something_new', { x: 1 });
  assert.equal(connection.state, 'open');
});
