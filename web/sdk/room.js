// @ts-check
/** @file One chat room as its channel tells it: what was said, who is there, what is on its way. */

import { Drafts } from './drafts.js';
import { RedredError } from './errors.js';
import { Emitter } from './events.js';
import { Mark } from './mark.js';
import { Outbox } from './outbox.js';
import { insist } from './retry.js';
import { EMPTY, memberOf, merge, reduce, stored, tickOf, withTyping } from './room_state.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./subscription.js').Subscription} Subscription */
/** @typedef {import('./outbox.js').Item} Item */
/** @typedef {import('./types.d.ts').Attachment} Attachment */
/** @typedef {import('./types.d.ts').ChatMessages} ChatMessages */
/** @typedef {import('./types.d.ts').ChatState} ChatState */
/** @typedef {import('./types.d.ts').Message} Message */
/** @typedef {import('./types.d.ts').MemberRole} MemberRole */
/** @typedef {import('./types.d.ts').RoomMessage} RoomMessage */
/** @typedef {import('./types.d.ts').RoomState} RoomState */
/** @typedef {import('./types.d.ts').Subscribed<ChatState>} Subscribed */
/** @typedef {import('./types.d.ts').User} User */

const PAGE = 50;
/** How often others hear that typing goes on; the server forgets it 3 s after it last heard so. */
const TYPING_EVERY_MS = 2000;
/** A pause of this length ends the typing. */
const TYPING_PAUSE_MS = 3000;
/** The end of somebody's typing may be lost on a slow line: then it ends by itself. Nobody types for longer without a pause. */
const TYPING_SHOWN_MS = 60_000;

/**
 * Everything in `ChatMessages` is an event of its own; besides these:
 *
 * @typedef {ChatMessages & {
 *   state: RoomState,
 *   subscribed: Subscribed,
 *   disconnected: void,
 *   refused: RedredError,
 * }} RoomEvents
 */

/** @extends {Emitter<RoomEvents>} */
export class Room extends Emitter {
  #connection;
  /** @type {Subscription | null} */
  #subscription = null;
  /** @type {(() => void)[]} */
  #offs = [];
  /** What the server says; what is on its way is put behind it in `state`. @type {RoomState} */
  #confirmed = EMPTY;
  /** @type {RoomState} */
  #state = EMPTY;
  #outbox;
  #delivered;
  #read;
  /** Came while the list was somewhere in the past. @type {RoomMessage[]} */
  #tail = [];
  /** Rises when the list is replaced, so that a page asked for before is recognised. */
  #generation = 0;
  /** @type {Map<'older' | 'newer', Promise<void>>} */
  #loading = new Map();
  /** @type {unknown} */
  #typingEnd = undefined;
  #typingSaidAt = -Infinity;
  /** @type {Map<string, unknown>} */
  #typingTimers = new Map();

  /**
   * @param {Connection} connection
   * @param {string} id the room's
   */
  constructor(connection, id) {
    super();
    this.#connection = connection;
    this.id = id;
    this.channel = `chat:${id}`;
    this.#outbox = new Outbox(connection.clock, (draft) => this.request('chat_message', { ...draft }));
    this.#outbox.on('change', () => this.#update({}));
    this.#outbox.on('sent', ({ draft, ack }) => this.#handleSent(draft, ack));
    this.#delivered = new Mark((seq) => this.request('mark_delivered', { up_to_seq: seq }));
    this.#read = new Mark(async (seq) => {
      const { unread } = await this.request('mark_read', { up_to_seq: seq });
      if (typeof unread === 'number') this.#update({ unread });
    });
  }

  get connection() {
    return this.#connection;
  }

  /** What is known of the room now. A new object after every change. */
  get state() {
    return this.#state;
  }

  /** True while the server sends us this channel. */
  get active() {
    return this.#subscription?.active ?? false;
  }

  /** Our own user id; empty before the first session. */
  get self() {
    return this.#connection.session?.user_id ?? '';
  }

  /** Ourselves as a member, with our role. */
  get me() {
    return memberOf(this.#state, this.self);
  }

  /** Listens to the room until `unsubscribe()`. Calling it again does nothing. */
  subscribe() {
    if (this.#subscription) return;
    const subscription = this.#connection.subscribe(this.channel);
    this.#subscription = subscription;
    this.#offs = [
      subscription.on('subscribed', (subscribed) => this.#handleSubscribed(subscribed)),
      subscription.on('message', ({ type, data }) => this.#handleMessage(type, data)),
      subscription.on('refused', (error) => {
        this.#forget();
        this.#outbox.close(error);
        this.emit('refused', error);
      }),
      this.#connection.on('state', ({ state, code, reason }) => {
        if (state !== 'waiting' && state !== 'closed') return;
        this.#pause();
        if (state === 'closed') this.#outbox.close(new RedredError('closed', reason ?? '', { closeCode: code }));
        this.emit('disconnected', undefined);
      }),
    ];
  }

  /** Stops listening. What is on its way stays, and goes out after the next `subscribe()`. */
  unsubscribe() {
    if (!this.#subscription) return;
    this.stopTyping();
    this.#forget();
    this.#connection.unsubscribe(this.channel);
  }

  #forget() {
    for (const off of this.#offs) off();
    this.#offs = [];
    this.#subscription = null;
    this.#pause();
  }

  #pause() {
    this.#outbox.pause();
    this.#delivered.pause();
    this.#read.pause();
    this.#typingSaidAt = -Infinity;
    for (const timer of this.#typingTimers.values()) this.#connection.clock.clearTimeout(timer);
    this.#typingTimers.clear();
    this.#update({ typing: [] });
  }

  // Talking.

  /**
   * Says something. It stands in `state.messages` at once and is sent when there is a connection, again after a break,
   * and stored once. Resolves when it is stored; a refusal also stands in `state.messages`.
   *
   * @param {string} text 1 to 4000 characters; may be empty with attachments
   * @param {{ replyTo?: string, attachments?: Attachment[] }} [options]
   * @returns {Promise<{ id: string, seq: number }>}
   */
  send(text, { replyTo, attachments } = {}) {
    this.#clearTyping();
    return this.#outbox.add({
      text,
      ...(replyTo !== undefined && { reply_to_id: replyTo }),
      ...(attachments?.length && { attachments }),
    });
  }

  /** Sends a message that failed once more. @param {string} clientId its `client_id` */
  retry(clientId) {
    this.#outbox.retry(clientId);
  }

  /** Gives a message that failed up. @param {string} clientId its `client_id` */
  discard(clientId) {
    this.#outbox.discard(clientId);
  }

  /** How many messages are not stored yet. */
  get unsent() {
    return this.#outbox.items.length;
  }

  /**
   * @param {string} id of a message of our own
   * @param {string} text
   */
  edit(id, text) {
    return this.#insist('edit_message', { id, text });
  }

  /**
   * Leaves a tombstone where a message was. Admins of a group may delete anybody's.
   *
   * @param {string} id
   */
  async delete(id) {
    try {
      await this.#insist('delete_message', { id });
    } catch (error) {
      // Asked a second time after a break: it is gone, which is what we wanted.
      if (!(error instanceof RedredError) || error.code !== 'not_found') throw error;
    }
  }

  /** To be called at each key: others hear of it now and then, and of its end after a pause. */
  typing() {
    const { clock } = this.#connection;
    clock.clearTimeout(this.#typingEnd);
    this.#typingEnd = clock.setTimeout(() => this.stopTyping(), TYPING_PAUSE_MS);
    if (clock.now() - this.#typingSaidAt < TYPING_EVERY_MS || !this.active) return;
    this.#typingSaidAt = clock.now();
    this.#connection.send('typing', { active: true }, this.channel);
  }

  /** Nothing is typed any more: the field was emptied or left. A message that is sent says so by itself. */
  stopTyping() {
    if (this.#clearTyping() && this.active) this.#connection.send('typing', { active: false }, this.channel);
  }

  /** @returns {boolean} whether others believe that we type */
  #clearTyping() {
    this.#connection.clock.clearTimeout(this.#typingEnd);
    const wasTyping = this.#typingSaidAt !== -Infinity;
    this.#typingSaidAt = -Infinity;
    return wasTyping;
  }

  // Positions.

  /** Everything up to here is on this device. Happens by itself while the room is subscribed. @param {number} seq */
  markDelivered(seq) {
    this.#delivered.to(seq);
  }

  /** Everything up to here was seen; up to the newest unless told. @param {number} [seq] */
  markRead(seq = this.#newest()?.seq ?? 0) {
    if (seq > 0) this.#read.to(seq);
  }

  /** How far a message of our own has come. @param {RoomMessage} message */
  tick(message) {
    return tickOf(this.#state.room, message);
  }

  // History.

  /** Puts an older page before the list. Does nothing when there is none. */
  loadOlder(limit = PAGE) {
    return this.#load('older', async () => {
      const oldest = this.#confirmed.messages[0];
      if (!oldest || !this.#confirmed.has_older) return;
      const generation = this.#generation;
      const page = await this.#history({ before_seq: oldest.seq, limit });
      if (generation !== this.#generation) return;
      this.#update({ messages: merge(page.messages, this.#confirmed.messages), has_older: page.has_more });
    });
  }

  /** Puts a newer page behind the list, after a jump into the past. */
  loadNewer(limit = PAGE) {
    return this.#load('newer', async () => {
      const newest = this.#newest();
      if (!newest || !this.#confirmed.has_newer) return;
      const generation = this.#generation;
      const page = await this.#history({ after_seq: newest.seq, limit });
      if (generation !== this.#generation) return;
      this.#arrive(merge(this.#confirmed.messages, page.messages), page.has_more);
    });
  }

  /**
   * Shows the messages around a position, such as one that a search found.
   *
   * @param {number} seq
   */
  async jumpTo(seq) {
    if (this.#confirmed.messages.some((message) => message.seq === seq)) return;
    const generation = ++this.#generation;
    const half = PAGE / 2;
    const [before, after] = await Promise.all([
      this.#history({ before_seq: seq + 1, limit: half }),
      this.#history({ after_seq: seq, limit: half }),
    ]);
    if (generation !== this.#generation) return;
    this.#update({ has_older: before.has_more });
    this.#arrive(merge(before.messages, after.messages), after.has_more);
  }

  /** Back to the newest messages. */
  async jumpToNewest() {
    if (!this.#confirmed.has_newer) return;
    const generation = ++this.#generation;
    const page = await this.#history({ limit: PAGE });
    if (generation !== this.#generation) return;
    this.#update({ has_older: page.has_more });
    this.#arrive(page.messages, false);
  }

  /**
   * @param {RoomMessage[]} messages
   * @param {boolean} hasNewer
   */
  #arrive(messages, hasNewer) {
    // What came while we looked elsewhere is newer than any page.
    this.#update({ messages: hasNewer ? messages : merge(messages, this.#tail), has_newer: hasNewer });
    if (!hasNewer) this.#tail = [];
  }

  /**
   * @param {'older' | 'newer'} direction
   * @param {() => Promise<void>} load
   */
  #load(direction, load) {
    const running = this.#loading.get(direction);
    if (running) return running;
    const loading = load().finally(() => this.#loading.delete(direction));
    this.#loading.set(direction, loading);
    return loading;
  }

  /**
   * @param {{ before_seq?: number, after_seq?: number, limit: number }} page
   * @returns {Promise<{ messages: RoomMessage[], has_more: boolean }>}
   */
  async #history(page) {
    const { messages, has_more } = await this.#insist('history', page);
    return { messages: messages.map(stored), has_more };
  }

  #newest() {
    return this.#confirmed.messages.at(-1);
  }

  // Groups.

  /** @param {string[]} userIds 1 to 100 */
  addMembers(userIds) {
    return this.#insist('add_members', { user_ids: userIds });
  }

  /** @param {string} userId */
  removeMember(userId) {
    return this.#insist('remove_member', { user_id: userId });
  }

  /** @param {string} title 1 to 100 characters */
  rename(title) {
    return this.#insist('rename_room', { title });
  }

  /**
   * @param {string} userId
   * @param {MemberRole} role `owner` hands the group over
   */
  setRole(userId, role) {
    return this.#insist('set_member_role', { user_id: userId, role });
  }

  /** Leaves the group for good; somebody else must let us in again. */
  async leaveRoom() {
    await this.#insist('leave_room', {});
    this.unsubscribe();
    this.#update({ removed: true });
  }

  // The wire.

  /**
   * Sends any request on this channel.
   *
   * @param {string} type
   * @param {Record<string, unknown>} data
   * @param {number} [timeoutMs]
   * @returns {Promise<any>}
   */
  request(type, data, timeoutMs) {
    return this.#connection.request(type, data, { channel: this.channel, timeoutMs });
  }

  /**
   * @param {string} type
   * @param {Record<string, unknown>} data
   * @returns {Promise<any>}
   */
  #insist(type, data) {
    return insist(this.#connection.clock, (leftMs) => this.request(type, data, leftMs));
  }

  /** @param {Subscribed} subscribed */
  #handleSubscribed(subscribed) {
    const { state, recovered } = subscribed;
    const me = state.room.members.find(({ id }) => id === this.self);
    this.#delivered.reached(me?.delivered_seq ?? 0);
    this.#read.reached(me?.read_seq ?? 0);
    if (recovered && this.#confirmed.room) {
      // What was missed follows as messages; the list stays, so that a view need not jump.
      this.#update({ room: state.room, unread: state.unread, removed: false });
    } else {
      this.#generation += 1;
      this.#tail = [];
      this.#update({
        room: state.room,
        messages: state.messages.map(stored),
        has_older: state.has_more,
        has_newer: false,
        unread: state.unread,
        removed: false,
      });
    }
    const newest = this.#newest();
    if (newest && !newest.deleted) this.#delivered.to(newest.seq);
    this.#delivered.open();
    this.#read.open();
    const { store } = this.#connection;
    if (store) this.#outbox.keep(new Drafts(store, this.self, this.id));
    for (const message of state.messages) this.#outbox.confirm(message);
    this.#outbox.open();
    this.emit('subscribed', subscribed);
  }

  /**
   * @param {string} type
   * @param {any} data
   */
  #handleMessage(type, data) {
    const change = reduce(this.#confirmed, type, data, this.self);
    if (type === 'chat_message') {
      if (this.#confirmed.has_newer) this.#tail = merge(this.#tail, [stored(data)]);
      if (data.sender.id === this.self) this.#outbox.confirm(data);
      else this.#delivered.to(data.seq);
    }
    if (type === 'typing') this.#watchTyping(data.user, data.active);
    if (change) this.#update(change);
    this.emit(/** @type {keyof ChatMessages} */ (type), data);
  }

  /**
   * @param {User} user
   * @param {boolean} active
   */
  #watchTyping(user, active) {
    const { clock } = this.#connection;
    clock.clearTimeout(this.#typingTimers.get(user.id));
    this.#typingTimers.delete(user.id);
    if (!active || user.id === this.self) return;
    const end = () => this.#update({ typing: withTyping(this.#confirmed.typing, user, false) });
    this.#typingTimers.set(user.id, clock.setTimeout(end, TYPING_SHOWN_MS));
  }

  /**
   * The acknowledgement may come before the message itself; then it is shown as stored already.
   *
   * @param {Item['draft']} draft
   * @param {{ id: string, seq: number, created_at: string }} ack
   */
  #handleSent(draft, { id, seq, created_at }) {
    const { user_id, name } = this.#connection.session ?? { user_id: '', name: '' };
    const message = stored({
      id,
      seq,
      created_at,
      room: this.id,
      sender: { id: user_id, name },
      text: draft.text,
      client_id: draft.client_id,
      reply_to_id: draft.reply_to_id ?? null,
      attachments: draft.attachments ?? [],
      edited_at: null,
      deleted: false,
    });
    const isKnown = this.#confirmed.messages.some((other) => other.id === id);
    const change = isKnown ? {} : reduce(this.#confirmed, 'chat_message', message, user_id);
    if (!isKnown && this.#confirmed.has_newer) this.#tail = merge(this.#tail, [message]);
    this.#update(change ?? {});
  }

  /** @param {Partial<RoomState>} change */
  #update(change) {
    this.#confirmed = { ...this.#confirmed, ...change };
    const pending = this.#outbox.items.map((item) => this.#show(item));
    this.#state =
      pending.length === 0 ? this.#confirmed : { ...this.#confirmed, messages: [...this.#confirmed.messages, ...pending] };
    this.emit('state', this.#state);
  }

  /** @param {Item} item @returns {RoomMessage} */
  #show({ draft, created_at, status, error }) {
    const { user_id, name } = this.#connection.session ?? { user_id: '', name: '' };
    return {
      id: draft.client_id,
      room: this.id,
      seq: 0,
      sender: { id: user_id, name },
      text: draft.text,
      client_id: draft.client_id,
      reply_to_id: draft.reply_to_id ?? null,
      attachments: draft.attachments ?? [],
      created_at,
      edited_at: null,
      deleted: false,
      status,
      ...(error && { error }),
    };
  }
}
