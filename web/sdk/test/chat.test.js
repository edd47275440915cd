import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Chat } from '../chat.js';
import { Connection } from '../connection.js';
import { Drafts } from '../drafts.js';
import { EMPTY, reduce } from '../room_state.js';
import { FakeClock, FakeServer, settled } from './fakes.js';

const AT = '2026-11-24T12:00:00.000Z';
const EPOCH = 'e1';
const CHANNEL = 'chat:r1';

const member = (id, more = {}) => ({
  id,
  name: id.toUpperCase(),
  role: 'member',
  delivered_seq: 0,
  read_seq: 0,
  status: 'online',
  last_seen: null,
  ...more,
});

const view = (more = {}) => ({
  id: 'r1',
  kind: 'direct',
  title: null,
  members: [member('u1'), member('u2')],
  created_at: AT,
  updated_at: AT,
  ...more,
});

const message = (seq, text = `text ${seq}`, more = {}) => ({
  id: `m${seq}`,
  room: 'r1',
  seq,
  sender: { id: 'u2', name: 'Ben' },
  text,
  client_id: null,
  reply_to_id: null,
  attachments: [],
  created_at: AT,
  edited_at: null,
  deleted: false,
  ...more,
});

/** A connection with a session, and the chat on it. */
async function open({ store } = {}) {
  const clock = new FakeClock();
  const server = new FakeServer();
  const connection = new Connection({
    token: 'a.b.c',
    url: 'https://live.example',
    WebSocket: server.WebSocket,
    clock,
    random: () => 1,
    store,
  });
  connection.connect().catch(() => {});
  await settled();
  server.establish();
  await settled();
  const chat = new Chat(connection);
  return { clock, server, connection, chat };
}

/** The same in a room with some messages. */
async function enter({ messages = [message(1)], state = {}, seq = messages.at(-1)?.seq ?? 0, store } = {}) {
  const all = await open({ store });
  const room = all.chat.room('r1');
  room.subscribe();
  subscribed(all.server, { seq, state: { room: view(), messages, has_more: false, unread: 0, ...state } });
  await settled();
  return { ...all, room };
}

function subscribed(server, { seq = 0, recovered = false, state }) {
  server.say('subscribed', { channel: CHANNEL, epoch: EPOCH, seq, recovered, state });
  server.ack('subscribe');
}

const tell = (server, type, data, seq) =>
  server.say(type, data, { channel: CHANNEL, ...(seq && { seq, epoch: EPOCH, id: `${type}-${seq}` }) });
const texts = (room) => room.state.messages.map(({ text }) => text);

/** Breaks the connection and brings it back. */
async function flicker({ clock, server }, answer) {
  server.drop();
  await clock.advance(15_000);
  server.establish();
  await settled();
  if (answer) subscribed(server, answer);
  await settled();
}

test('a message stands in the list at once and is stored once', async () => {
  const { server, room } = await enter();
  const stored = room.send('hola');
  assert.deepEqual(room.state.messages.at(-1).status, 'sending');
  assert.deepEqual(texts(room), ['text 1', 'hola']);
  const [{ data }] = server.sent('chat_message');
  server.ack('chat_message', { id: 'm2', seq: 2, room: 'r1', created_at: AT, client_id: data.client_id });
  assert.equal((await stored).id, 'm2');
  assert.deepEqual(room.state.messages.at(-1).status, 'sent');
  tell(server, 'chat_message', message(2, 'hola', { sender: { id: 'u1', name: 'Ana' }, client_id: data.client_id }), 2);
  assert.deepEqual(texts(room), ['text 1', 'hola']);
});

test('messages go out one after the other, in the order they were written', async () => {
  const { server, room } = await enter();
  void room.send('one');
  void room.send('two');
  assert.deepEqual(server.sent('chat_message').map(({ data }) => data.text), ['one']);
  server.ack('chat_message', { id: 'm2', seq: 2, created_at: AT });
  await settled();
  assert.deepEqual(server.sent('chat_message').map(({ data }) => data.text), ['one', 'two']);
});

test('what was on its way when the connection broke is sent again under the same id', async () => {
  const all = await enter();
  const { server, room } = all;
  const stored = room.send('hola');
  const first = server.sent('chat_message')[0].data.client_id;
  void room.send('and more');
  await flicker(all, { seq: 1, recovered: true, state: { room: view(), messages: [message(1)], has_more: false, unread: 0 } });
  const again = server.sent('chat_message');
  assert.deepEqual(again.map(({ data }) => data.client_id), [first]);
  server.ack('chat_message', { id: 'm2', seq: 2, created_at: AT });
  assert.equal((await stored).seq, 2);
  assert.deepEqual(server.sent('chat_message').map(({ data }) => data.text), ['hola', 'and more']);
});

/** A browser's storage, with room for so many characters a value. */
function storage(room = Infinity) {
  const values = new Map();
  return {
    values,
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => {
      if (value.length > room) throw new Error('QuotaExceededError');
      values.set(key, value);
    },
    removeItem: (key) => values.delete(key),
  };
}

test('what was not stored when the page was left is sent by the next page, first and once', async () => {
  const store = storage();
  const before = await enter({ store });
  void before.room.send('one');
  void before.room.send('two');
  const [{ data: flown }] = before.server.sent('chat_message');
  // The page is gone; the server has stored the first and nobody heard.
  const own = message(2, 'one', { sender: { id: 'u1', name: 'Ana' }, client_id: flown.client_id });
  const { chat, server } = await open({ store });
  const room = chat.room('r1');
  room.subscribe();
  void room.send('three');
  subscribed(server, { seq: 2, state: { room: view(), messages: [message(1), own], has_more: false, unread: 0 } });
  await settled();
  assert.deepEqual(texts(room), ['text 1', 'one', 'two', 'three']);
  server.ack('chat_message', { id: 'm3', seq: 3, created_at: AT });
  await settled();
  server.ack('chat_message', { id: 'm4', seq: 4, created_at: AT });
  await settled();
  assert.deepEqual(server.sent('chat_message').map(({ data }) => data.text), ['two', 'three']);
  assert.equal(store.values.size, 0);
});

test('a refused message is still there after a reload, and another user finds nothing', async () => {
  const store = storage();
  const before = await enter({ store });
  before.room.send('no').catch(() => {});
  const { id } = before.server.sent('chat_message')[0].metadata;
  before.server.say('error', { code: 'forbidden', message: '', retryable: false }, { reply_to: id });
  await settled();
  const { room, server } = await enter({ store });
  assert.deepEqual(room.state.messages.map(({ text, status }) => [text, status]), [['text 1', 'sent'], ['no', 'failed']]);
  assert.equal(server.sent('chat_message').length, 0);
  assert.deepEqual(new Drafts(store, 'u2', 'r1').load(), []);
  room.discard(room.state.messages[1].client_id);
  assert.equal(store.values.size, 0);
});

test('a storage that is full, or holds what is not ours, changes nothing else', async () => {
  const store = storage(10);
  store.values.set('redred.outbox:u1:r1', '[{"draft":{"text":7}}, 3, null]');
  const { server, room } = await enter({ store });
  assert.deepEqual(texts(room), ['text 1']);
  const stored = room.send('hola');
  server.ack('chat_message', { id: 'm2', seq: 2, created_at: AT });
  assert.equal((await stored).id, 'm2');
});

test('a message that was stored before the break is not sent again when the recovery shows it', async () => {
  const all = await enter();
  const { server, room } = all;
  const stored = room.send('hola');
  const { client_id } = server.sent('chat_message')[0].data;
  const own = message(2, 'hola', { sender: { id: 'u1', name: 'Ana' }, client_id });
  await flicker(all, { seq: 2, recovered: false, state: { room: view(), messages: [message(1), own], has_more: false, unread: 0 } });
  assert.equal((await stored).id, 'm2');
  assert.deepEqual(texts(room), ['text 1', 'hola']);
  assert.equal(server.sent('chat_message').length, 0);
});

test('a message waits when the server asks for patience, and fails when it refuses', async () => {
  const { clock, server, room } = await enter();
  const stored = room.send('hola');
  const refuse = (error) => server.say('error', error, { reply_to: server.sent('chat_message').at(-1).metadata.id });
  refuse({ code: 'rate_limited', message: '', retryable: true, retry_after_ms: 3000 });
  await clock.advance(2900);
  assert.equal(server.sent('chat_message').length, 1);
  await clock.advance(200);
  assert.equal(server.sent('chat_message').length, 2);
  refuse({ code: 'forbidden', message: '', retryable: false });
  await assert.rejects(stored, { code: 'forbidden' });
  const failed = room.state.messages.at(-1);
  assert.equal(failed.status, 'failed');
  room.retry(failed.client_id);
  assert.equal(server.sent('chat_message').length, 3);
  assert.equal(server.sent('chat_message')[2].data.client_id, failed.client_id);
  refuse({ code: 'forbidden', message: '', retryable: false });
  await settled();
  room.discard(failed.client_id);
  assert.deepEqual(texts(room), ['text 1']);
});

test('missed messages follow a recovery and stand once', async () => {
  const all = await enter();
  await flicker(all, { seq: 3, recovered: true, state: { room: view(), messages: [message(2), message(3)], has_more: true, unread: 2 } });
  assert.deepEqual(all.server.sent('subscribe')[0].data.since, { epoch: EPOCH, seq: 1 });
  for (const seq of [2, 3]) tell(all.server, 'chat_message', message(seq), seq);
  tell(all.server, 'chat_message', message(3), 3);
  assert.deepEqual(texts(all.room), ['text 1', 'text 2', 'text 3']);
});

test('a gap too large replaces the list by what the server has', async () => {
  const all = await enter();
  await flicker(all, { seq: 900, recovered: false, state: { room: view(), messages: [message(899), message(900)], has_more: true, unread: 2 } });
  assert.deepEqual(texts(all.room), ['text 899', 'text 900']);
  assert.equal(all.room.state.has_older, true);
});

test('a position that is skipped is asked for, once, and given up when the server has nothing there', async () => {
  const { server, room } = await enter();
  tell(server, 'chat_message', message(3), 3);
  assert.deepEqual(server.sent('subscribe').at(-1).data.since, { epoch: EPOCH, seq: 1 });
  assert.deepEqual(texts(room), ['text 1']);
  const state = { room: view(), messages: [], has_more: false, unread: 0 };
  subscribed(server, { seq: 3, recovered: true, state });
  tell(server, 'chat_message', message(3), 3);
  assert.deepEqual(texts(room), ['text 1', 'text 3']);
  assert.equal(server.sent('subscribe').length, 2);
});

test('edits, deletions and changes of the room are applied', async () => {
  const { server, room } = await enter({ state: { unread: 1 } });
  tell(server, 'message_edited', { id: 'm1', room: 'r1', text: 'better', edited_at: AT }, 2);
  assert.deepEqual([room.state.messages[0].text, room.state.messages[0].edited_at], ['better', AT]);
  tell(server, 'message_deleted', { id: 'm1', room: 'r1', by: 'u2' }, 3);
  assert.deepEqual([room.state.messages[0].deleted, room.state.messages[0].text, room.state.unread], [true, '', 0]);
  const by = { id: 'u2', name: 'Ben' };
  tell(server, 'room_updated', { room: 'r1', by, change: { kind: 'renamed', title: 'x' }, title: 'x', members: [member('u1')] }, 4);
  assert.deepEqual([room.state.room.title, room.state.room.members.length, room.state.removed], ['x', 1, false]);
  tell(server, 'room_updated', { room: 'r1', by, change: { kind: 'member_removed', user: 'u1' }, title: 'x', members: [member('u2')] }, 5);
  assert.equal(room.state.removed, true);
});

test('ticks go from sent over delivered to read, in a group by the last of its members', async () => {
  const own = message(1, 'hola', { sender: { id: 'u1', name: 'Ana' } });
  const members = [member('u1'), member('u2'), member('u3')];
  const { server, room } = await enter({ messages: [own], state: { room: view({ kind: 'group', members }) } });
  const tick = () => room.tick(room.state.messages[0]);
  const move = (type, user_id) => tell(server, type, { room: 'r1', user_id, up_to_seq: 1, at: AT });
  assert.equal(tick(), 'sent');
  move('message_delivered', 'u2');
  assert.equal(tick(), 'sent');
  move('message_delivered', 'u3');
  assert.equal(tick(), 'delivered');
  move('message_read', 'u2');
  move('message_read', 'u3');
  assert.equal(tick(), 'read');
});

test('what arrives is marked as delivered, and as read when told; each only forward', async () => {
  const { server, room } = await enter();
  const marks = (type) => server.sent(type).map(({ data }) => data.up_to_seq);
  assert.deepEqual(marks('mark_delivered'), [1]);
  server.ack('mark_delivered', { up_to_seq: 1, unread: 1 });
  await settled();
  for (const seq of [2, 3, 4]) tell(server, 'chat_message', message(seq), seq);
  assert.deepEqual(marks('mark_delivered'), [1, 2]);
  server.ack('mark_delivered', { up_to_seq: 2, unread: 1 });
  await settled();
  assert.deepEqual(marks('mark_delivered'), [1, 2, 4], 'those in between go with the last');
  assert.equal(room.state.unread, 3);
  room.markRead();
  room.markRead(2);
  server.ack('mark_read', { up_to_seq: 4, unread: 0 });
  await settled();
  assert.deepEqual(marks('mark_read'), [4]);
  assert.equal(room.state.unread, 0);
});

test('a read position that a break left untold is told after it', async () => {
  const all = await enter();
  all.room.markRead();
  await flicker(all, { seq: 1, recovered: true, state: { room: view(), messages: [], has_more: false, unread: 1 } });
  assert.deepEqual(all.server.sent('mark_read').map(({ data }) => data.up_to_seq), [1]);
});

test('typing is told now and then and ends by itself', async () => {
  const { clock, server, room } = await enter();
  const said = () => server.sent('typing').map(({ data }) => data.active);
  for (let key = 0; key < 5; key += 1) {
    room.typing();
    await clock.advance(500);
  }
  assert.deepEqual(said(), [true, true]);
  await clock.advance(3000);
  assert.deepEqual(said(), [true, true, false]);
  room.typing();
  void room.send('done');
  await clock.advance(5000);
  assert.deepEqual(said(), [true, true, false, true], 'a message says by itself that nobody types any more');
});

test('somebody who types is shown until the message, the end, or too long a silence', async () => {
  const { clock, server, room } = await enter();
  const type = (active) => tell(server, 'typing', { room: 'r1', user: { id: 'u2', name: 'Ben' }, active });
  const names = () => room.state.typing.map(({ name }) => name);
  type(true);
  assert.deepEqual(names(), ['Ben']);
  type(false);
  assert.deepEqual(names(), []);
  type(true);
  tell(server, 'chat_message', message(2), 2);
  assert.deepEqual(names(), []);
  type(true);
  await clock.advance(10_000);
  server.say('ping');
  assert.deepEqual(names(), ['Ben']);
  for (let time = 0; time < 5; time += 1) {
    await clock.advance(10_000);
    server.say('pong');
  }
  assert.deepEqual(names(), []);
});

test('history is paged backwards, and forwards after a jump into the past', async () => {
  const { server, room } = await enter({ messages: [message(90), message(91)], state: { has_more: true } });
  const older = room.loadOlder();
  void room.loadOlder();
  assert.deepEqual(server.sent('history').map(({ data }) => data), [{ before_seq: 90, limit: 50 }], 'one request at a time');
  server.ack('history', { messages: [message(88), message(89)], has_more: true });
  await older;
  assert.deepEqual(room.state.messages.map(({ seq }) => seq), [88, 89, 90, 91]);

  const jump = room.jumpTo(10);
  const [, before, after] = server.sent('history');
  assert.deepEqual([before.data, after.data], [{ before_seq: 11, limit: 25 }, { after_seq: 10, limit: 25 }]);
  server.say('ack', { messages: [message(9), message(10)], has_more: true }, { reply_to: before.metadata.id });
  server.say('ack', { messages: [message(11)], has_more: true }, { reply_to: after.metadata.id });
  await jump;
  assert.deepEqual(room.state.messages.map(({ seq }) => seq), [9, 10, 11]);
  assert.equal(room.state.has_newer, true);

  tell(server, 'chat_message', message(92), 92);
  assert.equal(room.state.messages.length, 3, 'what comes now would leave a hole in the list');
  const newer = room.loadNewer();
  server.ack('history', { messages: [message(91)], has_more: false });
  await newer;
  assert.deepEqual(room.state.messages.map(({ seq }) => seq), [9, 10, 11, 91, 92]);
  assert.equal(room.state.has_newer, false);
});

const listing = (id, updated_at, more = {}) => ({ ...view({ id, updated_at }), last_message: null, unread: 0, ...more });

test('the list of rooms follows its updates, and marks what it shows as delivered', async () => {
  const { server, chat } = await open();
  chat.inbox.subscribe();
  const last = message(5, 'hi', { room: 'r2' });
  const rooms = [listing('r1', AT), listing('r2', AT, { last_message: last, unread: 2 })];
  server.say('subscribed', { channel: 'chats', epoch: '', seq: 0, recovered: false, state: { rooms, has_more: false } });
  assert.equal(chat.inbox.state.unread, 2);
  const [delivered] = server.sent('mark_delivered');
  assert.deepEqual([delivered.metadata.channel, delivered.data], ['chat:r2', { up_to_seq: 5 }]);

  const update = (data) => server.say('chat_update', { kind: 'direct', title: null, ...data }, { channel: 'chats' });
  update({ room: 'r1', last_message: message(7), unread: 1, updated_at: '2026-11-24T12:00:01.000Z' });
  assert.deepEqual(chat.inbox.state.rooms.map(({ id }) => id), ['r1', 'r2']);
  assert.equal(chat.inbox.state.unread, 3);
  update({ room: 'r3', kind: 'group', title: 'New', members: [member('u1')], last_message: null, unread: 0, updated_at: '2026-11-24T12:00:02.000Z' });
  assert.deepEqual(chat.inbox.state.rooms.map(({ id }) => id), ['r3', 'r1', 'r2']);
  update({ room: 'r3', kind: 'group', title: 'New', last_message: null, unread: 0, updated_at: AT, removed: true });
  assert.deepEqual(chat.inbox.state.rooms.map(({ id }) => id), ['r1', 'r2']);
});

// The wire as the server's own tests fix it.

const golden = new URL('../../../signaling/golden/', import.meta.url);

test('every golden message of a room changes what a room shows', () => {
  const all = readdirSync(golden)
    .filter((name) => name.startsWith('server.'))
    .map((name) => ({ name, ...JSON.parse(readFileSync(new URL(name, golden), 'utf8')) }));
  const { state } = all.find(({ data }) => data.channel?.startsWith('chat:')).data;
  const said = all.find(({ type }) => type === 'chat_message').data;
  const before = { ...EMPTY, ...state, messages: [...state.messages, said] };
  const seen = all.filter(({ metadata }) => metadata?.channel?.startsWith('chat:'));
  assert.ok(seen.length > 0);
  for (const { name, type, data } of seen.filter((message) => !['subscribed', 'app_message'].includes(message.type))) {
    const known = data.id === undefined ? before : { ...before, messages: [...before.messages, { ...said, id: data.id }] };
    assert.ok(reduce(known, type, data, 'nobody'), name);
  }
});
