import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Connection } from '../connection.js';
import { Notifications } from '../notifications.js';
import { FakeClock, FakeServer, settled } from './fakes.js';

const native = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = native;
});

const item = (seq, more = {}) => ({
  id: `n${seq}`,
  seq,
  kind: 'like',
  priority: 'medium',
  message: 'liked your post',
  actor: { id: 'u2', name: 'Ben' },
  target: null,
  group_key: null,
  count: 1,
  created_at: '2026-11-24T12:00:00.000Z',
  read: false,
  ...more,
});

/** Notifications with a subscription; HTTP is answered by `pages`, one after the other. */
async function open(pages = []) {
  const clock = new FakeClock();
  const server = new FakeServer();
  const connection = new Connection({ token: 'a.b.c', url: 'https://live.example', WebSocket: server.WebSocket, clock, random: () => 1 });
  connection.connect().catch(() => {});
  await settled();
  server.establish();
  await settled();
  const asked = [];
  globalThis.fetch = async (url, init) => {
    asked.push(`${init.method} ${url.pathname}${url.search}`);
    assert.equal(init.headers.Authorization, 'Bearer a.b.c');
    return new Response(JSON.stringify(pages.shift() ?? {}), { status: 200 });
  };
  const notifications = new Notifications(connection);
  const came = [];
  notifications.on('notification', (each) => came.push(`${each.id}×${each.count}`));
  notifications.subscribe();
  subscribed(server, 2);
  return { clock, server, notifications, asked, came };
}

function subscribed(server, unread) {
  const state = { unread, preferences: { muted_kinds: [], quiet_hours: null } };
  server.say('subscribed', { channel: 'notifications', epoch: 'e', seq: 4, recovered: true, state });
}

const tell = (server, type, data, seq) => server.say(type, data, { channel: 'notifications', ...(seq && { seq, epoch: 'e' }) });

test('the count comes with the subscription and with every change', async () => {
  const { server, notifications } = await open();
  assert.equal(notifications.state.unread, 2);
  tell(server, 'unread_count', { count: 5 });
  assert.equal(notifications.state.unread, 5);
});

test('a batch adds lines and folds into those that are there, whatever positions it skips', async () => {
  const { server, notifications, came } = await open();
  tell(server, 'new_notification', item(9, { kind: 'comment' }), 9);
  tell(server, 'notification_batch', { notifications: [item(7), item(8)] }, 8);
  tell(server, 'notification_batch', { notifications: [item(30, { id: 'n7', count: 13 })] }, 30);
  tell(server, 'notification_batch', { notifications: [item(8)] }, 8);
  assert.deepEqual(notifications.state.items.map(({ id, count }) => `${id}×${count}`), ['n7×13', 'n9×1', 'n8×1']);
  assert.deepEqual(came, ['n9×1', 'n7×1', 'n8×1', 'n7×13']);
  assert.equal(server.sent('subscribe').length, 1, 'skipped positions are no gap here');
});

test('the list is read in pages and once more after a break', async () => {
  const { clock, server, notifications, asked } = await open([
    { notifications: [item(9), item(8)], has_more: true, unread: 2 },
    { notifications: [item(7)], has_more: false, unread: 2 },
    { notifications: [item(11), item(9)], has_more: true, unread: 3 },
  ]);
  await notifications.load();
  await notifications.loadMore();
  assert.deepEqual(asked, ['GET /api/v1/notifications?limit=30', 'GET /api/v1/notifications?limit=30&before=8']);
  assert.deepEqual(notifications.state.items.map(({ seq }) => seq), [9, 8, 7]);
  assert.equal(notifications.state.has_more, false);
  server.drop();
  await clock.advance(1000);
  server.establish();
  await settled();
  subscribed(server, 3);
  await new Promise((done) => setImmediate(done));
  assert.deepEqual(notifications.state.items.map(({ seq }) => seq), [11, 9, 8, 7]);
});

test('reading one or all shows at once, here and on the other connections', async () => {
  const { server, notifications } = await open([{ notifications: [item(9), item(8), item(7)], has_more: false, unread: 3 }]);
  await notifications.load();
  const reads = () => notifications.state.items.map(({ read }) => read);
  void notifications.markRead('n9');
  assert.deepEqual(reads(), [true, false, false]);
  assert.equal(notifications.state.unread, 2);
  assert.deepEqual(server.sent('notification_read')[0].data, { id: 'n9' });
  tell(server, 'notification_read', { id: 'n8' });
  assert.deepEqual(reads(), [true, true, false]);
  void notifications.markAllRead();
  assert.deepEqual(reads(), [true, true, true]);
  assert.equal(server.sent('mark_all_read').length, 1);
});
