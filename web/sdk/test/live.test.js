import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Connection } from '../connection.js';
import { LiveChannel } from '../live.js';
import { StreamDirectory } from '../streams.js';
import { FakeClock, FakeServer, settled } from './fakes.js';

const CHANNEL = 'live:ana';
const STATE = {
  live: false,
  stream_id: null,
  title: '',
  tags: [],
  started_at: null,
  streamer: null,
  viewers: 0,
  tracks: [],
  role: 'viewer',
  permissions: { publish: false, moderate: false, chat: true },
  settings: { slow_mode_seconds: 0, pinned: null },
  comments: [],
  timed_out_until: null,
};

const comment = (id, user = { id: 'u2', name: 'Ben', role: 'viewer' }) => ({
  id,
  user,
  text: `text of ${id}`,
  highlighted: false,
  created_at: '2026-11-24T12:00:00.000Z',
});

/** A subscribed channel, and what its listeners heard. */
async function begin(state = {}) {
  const clock = new FakeClock();
  const server = new FakeServer();
  const connection = new Connection({
    token: 'a.b.c',
    url: 'https://live.example',
    WebSocket: server.WebSocket,
    clock,
    random: () => 1,
  });
  const live = new LiveChannel(connection, 'ana');
  live.subscribe();
  connection.connect().catch(() => {});
  await settled();
  server.establish();
  let seq = 0;
  const subscribed = (more = {}) =>
    server.say('subscribed', { channel: CHANNEL, epoch: 'e', seq, recovered: false, state: { ...STATE, ...state }, ...more });
  subscribed();
  /** A message of the channel, with a place in its order when it is a persistent one. */
  const say = (type, data, persistent = false) =>
    server.say(type, data, persistent ? { channel: CHANNEL, epoch: 'e', seq: ++seq } : { channel: CHANNEL });
  return { clock, server, connection, live, say, subscribed };
}

test('the state follows the life of the stream', async () => {
  const { live, say } = await begin();
  const track = { track: 0, kind: 'video', codec: 'vp8', muted: false, layers: [] };
  say('stream_started', {
    stream_id: 'ana',
    title: 'Hello',
    tags: ['a'],
    started_at: '2026-11-24T12:00:00.000Z',
    streamer: { id: 'u9', name: 'Ana' },
    tracks: [],
  });
  say('tracks_changed', { stream_id: 'ana', tracks: [track] });
  say('viewers_update', { count: 3 });
  say('stream_updated', { stream_id: 'ana', title: 'Hello again', tags: [] });
  assert.deepEqual(
    { ...live.state, comments: undefined },
    {
      ...STATE,
      comments: undefined,
      live: true,
      stream_id: 'ana',
      title: 'Hello again',
      started_at: '2026-11-24T12:00:00.000Z',
      streamer: { id: 'u9', name: 'Ana' },
      tracks: [track],
      viewers: 3,
    },
  );
  say('stream_ended', { stream_id: 'ana', reason: 'ended', duration_ms: 1, peak_viewers: 3 });
  assert.equal(live.state.live, false);
  assert.deepEqual(live.state.tracks, []);
});

test('a comment appears once and leaves when it is deleted', async () => {
  const { live, say } = await begin();
  const heard = [];
  live.on('comment', ({ id }) => heard.push(id));
  say('comment', comment('c1'), true);
  say('comment', comment('c1'));
  say('comment', comment('c2'), true);
  assert.deepEqual(heard, ['c1', 'c2']);
  say('comment_deleted', { id: 'c1', by: 'u9' }, true);
  assert.deepEqual(live.state.comments.map(({ id }) => id), ['c2']);
});

test('a new role shows in comments and in what we may do', async () => {
  const { live, say } = await begin({ comments: [comment('c1', { id: 'u1', name: 'Me', role: 'viewer' })] });
  say('role_changed', { user_id: 'u1', role: 'moderator', by: 'u9' });
  assert.equal(live.state.role, 'moderator');
  assert.equal(live.state.permissions.moderate, true);
  assert.equal(live.state.comments[0].user.role, 'moderator');
  say('role_changed', { user_id: 'u2', role: 'vip', by: 'u9' });
  assert.equal(live.state.role, 'moderator');
});

test('a timeout of ours is remembered, one of somebody else is not', async () => {
  const { live, say } = await begin();
  say('user_moderated', { user_id: 'u2', action: 'timeout', seconds: 60, until: '2026-11-24T12:01:00.000Z', by: 'u9' });
  assert.equal(live.state.timed_out_until, null);
  say('user_moderated', { user_id: 'u1', action: 'timeout', seconds: 60, until: '2026-11-24T12:01:00.000Z', by: 'u9' });
  assert.equal(live.state.timed_out_until, '2026-11-24T12:01:00.000Z');
});

test('settings change one by one', async () => {
  const { live, say } = await begin();
  say('room_settings', { slow_mode_seconds: 5, pinned: comment('c1'), by: 'u9' });
  assert.equal(live.state.settings.slow_mode_seconds, 5);
  assert.equal(live.state.settings.pinned.id, 'c1');
});

test('a comment whose connection broke is sent again under the same id', async () => {
  const { clock, server, live, subscribed } = await begin();
  const reply = live.comment('hi');
  const [first] = server.sent('comment');
  assert.match(first.data.client_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  server.drop();
  await clock.advance(500);
  server.establish();
  subscribed({ recovered: true });
  await settled();
  const [second] = server.sent('comment');
  assert.equal(second.data.client_id, first.data.client_id);
  server.ack('comment', comment('c1'));
  assert.equal((await reply).id, 'c1');
});

test('a comment that the server refuses is not sent again', async () => {
  const { server, live } = await begin();
  const reply = live.comment('hi');
  const { id } = server.sent('comment')[0].metadata;
  server.say('error', { code: 'forbidden', message: 'no', retryable: false, reason: 'timeout' }, { reply_to: id });
  await assert.rejects(reply, { code: 'forbidden', reason: 'timeout' });
  assert.equal(server.sent('comment').length, 1);
});

test('every request names the channel', async () => {
  const { server, live } = await begin();
  const requests = {
    start_stream: () => live.startStream({ title: 't' }),
    end_stream: () => live.endStream(),
    delete_comment: () => live.deleteComment('c1'),
    kick: () => live.kick('u2'),
    ban: () => live.ban('u2', 'spam'),
    unban: () => live.unban('u2'),
    timeout: () => live.timeout('u2', 60),
    slow_mode: () => live.slowMode(5),
    pin_comment: () => live.pin(null),
    set_role: () => live.setRole('u2', 'vip'),
  };
  for (const [type, send] of Object.entries(requests)) {
    const reply = send();
    const [message] = server.sent(type);
    assert.equal(message.metadata.channel, CHANNEL, type);
    server.ack(type, {});
    await reply;
  }
  assert.equal(live.react('🔥'), true);
  assert.equal(server.sent('reaction')[0].metadata.channel, CHANNEL);
});

test('a subscription after a break tells whether the session was resumed', async () => {
  const { clock, server, live, subscribed } = await begin();
  const heard = [];
  live.on('subscribed', ({ resumed }) => heard.push(resumed));
  server.drop();
  await clock.advance(500);
  server.establish({ resumed: true });
  subscribed({ recovered: true });
  server.drop();
  await clock.advance(1000);
  server.establish();
  subscribed({ recovered: true });
  assert.deepEqual(heard, [true, false]);
});

test('the directory shows who is live', async () => {
  const { server, connection } = await begin();
  const directory = new StreamDirectory(connection);
  const seen = [];
  directory.on('update', (streams) => seen.push(streams.map(({ id }) => id)));
  directory.subscribe();
  server.say('subscribed', { channel: 'streams', epoch: 'e', seq: 0, recovered: false, state: { streams: [] } });
  server.say('streams_update', { streams: [{ id: 'ana' }] }, { channel: 'streams' });
  assert.deepEqual(seen, [[], ['ana']]);
});

// The wire as the server's own tests fix it: each message that goes to clients must be one the SDK listens to.

const golden = new URL('../../../signaling/golden/', import.meta.url);
const OTHERS = new Set([
  ...['connection_established', 'subscribed', 'ack', 'error', 'ping', 'pong', 'draining', 'streams_update', 'chat_update'],
  ...['unread_count', 'new_notification', 'notification_batch', 'notification_read', 'mark_all_read', 'preferences_updated', 'app_message'],
]);

test('every golden message to a client is understood', async () => {
  const types = readFileSync(new URL('../types.d.ts', import.meta.url), 'utf8');
  const known = new Set();
  for (const [, fields] of types.matchAll(/interface (?:Live|Chat)Messages \{(.*?)\n\}/gs)) {
    for (const [, type] of fields.matchAll(/^ {2}(\w+):/gm)) known.add(type);
  }
  for (const name of readdirSync(golden).filter((file) => file.endsWith('.json'))) {
    const message = JSON.parse(readFileSync(new URL(name, golden), 'utf8'));
    // Those from clients carry no timestamp: the server alone sets it.
    if (message.timestamp === undefined) continue;
    assert.ok(known.has(message.type) || OTHERS.has(message.type), `${name}: ${message.type}`);
  }
});
