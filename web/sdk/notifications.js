// @ts-check
/** @file A user's notifications: the unread count, what comes, the list, and what the user wants to hear. */

import { query } from './api.js';
import { Emitter } from './events.js';
import { insist } from './retry.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./types.d.ts').NotificationItem} NotificationItem */
/** @typedef {import('./types.d.ts').Preferences} Preferences */

const CHANNEL = 'notifications';
const API = '/api/v1/notifications';
const PAGE = 30;

/**
 * @typedef {object} NotificationsState
 * @property {number} unread lines that are not read
 * @property {NotificationItem[]} items newest first; only what came since the beginning until `load()`
 * @property {boolean} has_more
 * @property {boolean} loaded whether `load()` has answered
 * @property {Preferences} preferences
 */

/**
 * @typedef {object} NotificationsEvents
 * @property {NotificationsState} state
 * @property {NotificationItem} notification one that came, or one that others were folded into
 * @property {import('./errors.js').RedredError} refused
 */

/** @extends {Emitter<NotificationsEvents>} */
export class Notifications extends Emitter {
  #connection;
  /** @type {import('./subscription.js').Subscription | null} */
  #subscription = null;
  /** @type {(() => void)[]} */
  #offs = [];
  /** @type {NotificationsState} */
  #state = { unread: 0, items: [], has_more: true, loaded: false, preferences: { muted_kinds: [], quiet_hours: null } };

  /** @param {Connection} connection */
  constructor(connection) {
    super();
    this.#connection = connection;
  }

  /** A new object after every change. */
  get state() {
    return this.#state;
  }

  subscribe() {
    if (this.#subscription) return;
    // Folded lines take new positions and leave the old ones empty.
    const subscription = this.#connection.subscribe(CHANNEL, { sparse: true });
    this.#subscription = subscription;
    this.#offs = [
      subscription.on('subscribed', ({ state }) => {
        this.#update({ unread: state.unread, preferences: state.preferences });
        // A batch that was being collected when the connection broke is found in the list.
        if (this.#state.loaded) this.load().catch(() => {});
      }),
      subscription.on('message', ({ type, data }) => this.#handleMessage(type, data)),
      subscription.on('refused', (error) => {
        this.#forget();
        this.emit('refused', error);
      }),
    ];
  }

  unsubscribe() {
    if (!this.#subscription) return;
    this.#forget();
    this.#connection.unsubscribe(CHANNEL);
  }

  #forget() {
    for (const off of this.#offs) off();
    this.#offs = [];
    this.#subscription = null;
  }

  /** Reads the newest page of the list. */
  async load() {
    const { notifications, has_more, unread } = await this.list({ limit: PAGE });
    const oldest = notifications.at(-1)?.seq ?? 0;
    // Lines that folded while we were away stand in the page with a new position.
    const older = this.#state.loaded ? this.#state.items.filter(({ seq }) => seq < oldest) : [];
    const items = merge(has_more ? older : [], notifications);
    this.#update({ items, has_more: has_more && (older.length === 0 || this.#state.has_more), unread, loaded: true });
  }

  /** Puts the next page behind the list. */
  async loadMore() {
    const oldest = this.#state.items.at(-1)?.seq;
    if (!this.#state.loaded || oldest === undefined) return this.load();
    if (!this.#state.has_more) return;
    const { notifications, has_more } = await this.list({ limit: PAGE, before: oldest });
    this.#update({ items: merge(this.#state.items, notifications), has_more });
  }

  /**
   * A page of the list, over HTTP.
   *
   * @param {{ unread?: boolean, before?: number, limit?: number }} [page]
   * @returns {Promise<{ notifications: NotificationItem[], has_more: boolean, unread: number }>}
   */
  list(page = {}) {
    return this.#connection.call('GET', API + query(page));
  }

  /** @param {string} id */
  async markRead(id) {
    const item = this.#state.items.find((each) => each.id === id);
    if (item?.read) return;
    this.#showRead((each) => each.id === id);
    this.#update({ unread: Math.max(0, this.#state.unread - 1) });
    await this.#insist('notification_read', { id });
  }

  async markAllRead() {
    this.#showRead(() => true);
    this.#update({ unread: 0 });
    await this.#insist('mark_all_read', {});
  }

  /**
   * @param {Preferences} preferences all of them
   */
  async setPreferences(preferences) {
    this.#update({ preferences: await this.#connection.call('PUT', `${API}/preferences`, { body: preferences }) });
  }

  /**
   * We want to hear when a stream goes live.
   *
   * @param {string} stream
   * @returns {Promise<{ count: number }>} how many follow it now
   */
  follow(stream) {
    return this.#connection.call('PUT', this.#followerPath(stream));
  }

  /** @param {string} stream @returns {Promise<{ count: number }>} */
  unfollow(stream) {
    return this.#connection.call('DELETE', this.#followerPath(stream));
  }

  /** @param {string} stream */
  #followerPath(stream) {
    const self = this.#connection.session?.user_id ?? '';
    return `/api/v1/streams/${encodeURIComponent(stream)}/followers/${encodeURIComponent(self)}`;
  }

  /**
   * @param {string} type
   * @param {any} data
   */
  #handleMessage(type, data) {
    switch (type) {
      case 'new_notification':
        return this.#add([data]);
      case 'notification_batch':
        return this.#add(data.notifications);
      case 'unread_count':
        return this.#update({ unread: data.count });
      case 'notification_read':
        return this.#showRead(({ id }) => id === data.id);
      case 'mark_all_read':
        return this.#showRead(() => true);
      case 'preferences_updated':
        return this.#update({ preferences: data });
      default:
    }
  }

  /** @param {NotificationItem[]} items */
  #add(items) {
    const known = new Map(this.#state.items.map((item) => [item.id, item.seq]));
    const fresh = items.filter(({ id, seq }) => seq > (known.get(id) ?? -1));
    if (fresh.length === 0) return;
    this.#update({ items: merge(this.#state.items, fresh) });
    for (const item of fresh) this.emit('notification', item);
  }

  /** @param {(item: NotificationItem) => boolean} which */
  #showRead(which) {
    this.#update({ items: this.#state.items.map((item) => (which(item) && !item.read ? { ...item, read: true } : item)) });
  }

  /**
   * @param {string} type
   * @param {Record<string, unknown>} data
   */
  #insist(type, data) {
    return insist(this.#connection.clock, (leftMs) =>
      this.#connection.request(type, data, { channel: CHANNEL, timeoutMs: leftMs }),
    );
  }

  /** @param {Partial<NotificationsState>} change */
  #update(change) {
    this.#state = { ...this.#state, ...change };
    this.emit('state', this.#state);
  }
}

/**
 * Newest first; a line that moved up is shown once, as it is now.
 *
 * @param {NotificationItem[]} ours
 * @param {NotificationItem[]} theirs
 */
function merge(ours, theirs) {
  const byId = new Map(ours.map((item) => [item.id, item]));
  for (const item of theirs) {
    if (item.seq >= (byId.get(item.id)?.seq ?? 0)) byId.set(item.id, item);
  }
  return [...byId.values()].sort((a, b) => b.seq - a.seq);
}
