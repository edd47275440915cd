// @ts-check
/** @file The list of one's rooms, kept up to date by the channel `chats`. */

import { Emitter } from './events.js';

/** @typedef {import('./chat.js').Chat} Chat */
/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./types.d.ts').ChatsState} ChatsState */
/** @typedef {import('./types.d.ts').ChatUpdate} ChatUpdate */
/** @typedef {import('./types.d.ts').Member} Member */
/** @typedef {import('./types.d.ts').Message} Message */
/** @typedef {import('./types.d.ts').RoomListing} RoomListing */
/** @typedef {import('./types.d.ts').UserPresence} UserPresence */

const CHANNEL = 'chats';

/**
 * @typedef {object} InboxState
 * @property {RoomListing[]} rooms the one that changed last first
 * @property {boolean} has_more
 * @property {number} unread over all rooms that are here
 * @property {boolean} loaded
 */

/**
 * @typedef {object} InboxEvents
 * @property {InboxState} state
 * @property {ChatUpdate} chat_update
 * @property {import('./errors.js').RedredError} refused
 */

/** @extends {Emitter<InboxEvents>} */
export class Inbox extends Emitter {
  #connection;
  #chat;
  /** @type {import('./subscription.js').Subscription | null} */
  #subscription = null;
  /** @type {(() => void)[]} */
  #offs = [];
  /** @type {InboxState} */
  #state = { rooms: [], has_more: false, unread: 0, loaded: false };
  /** Where the next page begins; null when it is to be found out. @type {string | null} */
  #next = null;
  /** @type {Promise<void> | null} */
  #loading = null;

  /**
   * @param {Connection} connection
   * @param {Chat} chat
   */
  constructor(connection, chat) {
    super();
    this.#connection = connection;
    this.#chat = chat;
  }

  /** A new object after every change. */
  get state() {
    return this.#state;
  }

  subscribe() {
    if (this.#subscription) return;
    const subscription = this.#connection.subscribe(CHANNEL, { sparse: true });
    this.#subscription = subscription;
    this.#offs = [
      subscription.on('subscribed', ({ state }) => this.#handleState(state)),
      subscription.on('message', ({ type, data }) => {
        if (type === 'chat_update') this.#handleUpdate(data);
        if (type === 'presence') this.handlePresence(data);
        if (type === 'message_delivered' || type === 'message_read') this.handlePosition(type, data);
      }),
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

  /** Puts the next page behind the list. */
  loadMore() {
    this.#loading ??= this.#loadMore().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #loadMore() {
    // The first page came with the subscription and without its end: it is asked for once more.
    while (this.#state.has_more) {
      const { rooms, has_more, next } = await this.#chat.rooms({ limit: 50, ...(this.#next && { before: this.#next }) });
      const known = new Set(this.#state.rooms.map(({ id }) => id));
      const added = rooms.filter(({ id }) => !known.has(id));
      this.#next = next ?? null;
      this.#update({ rooms: [...this.#state.rooms, ...added], has_more: has_more && next !== undefined });
      if (added.length > 0) return;
    }
  }

  /** @param {ChatsState} state */
  #handleState({ rooms, has_more }) {
    this.#next = null;
    this.#update({ rooms, has_more, loaded: true });
    for (const { id, members, last_message } of rooms) this.#deliver(id, last_message, members);
  }

  /** @param {ChatUpdate} update */
  #handleUpdate(update) {
    const { room: id, kind, title, members, last_message, unread, updated_at, removed } = update;
    const known = this.#state.rooms.find((room) => room.id === id);
    const others = this.#state.rooms.filter((room) => room.id !== id);
    if (removed) {
      this.#update({ rooms: others });
    } else if (known || members) {
      const room = {
        ...(known ?? { id, created_at: updated_at }),
        kind,
        title,
        members: members ?? known?.members ?? [],
        last_message,
        unread,
        updated_at,
      };
      this.#update({ rooms: [room, ...others] });
      this.#deliver(id, last_message, room.members);
    } else {
      // A room that is further down in the list than we have read.
      void this.#fetch(id, update);
    }
    this.emit('chat_update', update);
  }

  /**
   * @param {string} id
   * @param {ChatUpdate} update
   */
  async #fetch(id, { last_message, unread, updated_at }) {
    try {
      const room = await this.#connection.call('GET', `/api/v1/rooms/${encodeURIComponent(id)}`);
      if (this.#state.rooms.some((known) => known.id === id)) return;
      this.#update({ rooms: [{ ...room, last_message, unread, updated_at }, ...this.#state.rooms] });
      this.#deliver(id, last_message, room.members);
    } catch {
      // The next update of the room tries again.
    }
  }

  /** Somebody came or went; open rooms hear it. @param {UserPresence} presence */
  handlePresence({ user_id, status, last_seen }) {
    this.#changeMember(null, user_id, () => ({ status, last_seen }));
  }

  /**
   * A member has received or read more; open rooms hear it too.
   *
   * @param {'message_delivered' | 'message_read'} type
   * @param {import('./types.d.ts').ChatPosition} position
   */
  handlePosition(type, { room, user_id, up_to_seq }) {
    this.#changeMember(room, user_id, (member) => ({
      delivered_seq: Math.max(member.delivered_seq, up_to_seq),
      ...(type === 'message_read' && { read_seq: Math.max(member.read_seq, up_to_seq) }),
    }));
  }

  /**
   * @param {string | null} only in this room
   * @param {string} userId
   * @param {(member: Member) => Partial<Member>} change
   */
  #changeMember(only, userId, change) {
    const has = (/** @type {RoomListing} */ room) =>
      (only === null || room.id === only) && room.members.some(({ id }) => id === userId);
    if (!this.#state.rooms.some(has)) return;
    const rooms = this.#state.rooms.map((room) =>
      has(room)
        ? { ...room, members: room.members.map((member) => (member.id === userId ? { ...member, ...change(member) } : member)) }
        : room,
    );
    this.#update({ rooms });
  }

  /**
   * A message in the list is on this device, whether its room is open or not; open rooms say so themselves.
   *
   * @param {string} id
   * @param {Message | null} message
   * @param {Member[]} members
   */
  #deliver(id, message, members) {
    const self = this.#connection.session?.user_id;
    if (!message || message.sender.id === self || this.#chat.isOpen(id)) return;
    const delivered = members.find((member) => member.id === self)?.delivered_seq ?? 0;
    if (message.seq <= delivered) return;
    this.#connection.request('mark_delivered', { up_to_seq: message.seq }, { channel: `chat:${id}` }).catch(() => {
      // The state after the next connection says whether it is still to be done.
    });
  }

  /** @param {Partial<InboxState>} change */
  #update(change) {
    const state = { ...this.#state, ...change };
    state.rooms = [...state.rooms].sort((a, b) => b.updated_at.localeCompare(a.updated_at));
    state.unread = state.rooms.reduce((sum, { unread }) => sum + unread, 0);
    this.#state = state;
    this.emit('state', state);
  }
}
