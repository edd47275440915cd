// @ts-check
/** @file Chat of one user: rooms, the list of them, search, blocks. */

import { query } from './api.js';
import { Inbox } from './inbox.js';
import { Room } from './room.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./types.d.ts').Message} Message */
/** @typedef {import('./types.d.ts').RoomKind} RoomKind */
/** @typedef {import('./types.d.ts').RoomListing} RoomListing */
/** @typedef {import('./types.d.ts').RoomView} RoomView */
/** @typedef {import('./types.d.ts').User} User */
/** @typedef {import('./types.d.ts').UserPresence} UserPresence */

const API = '/api/v1';

export class Chat {
  #connection;
  /** @type {Map<string, Room>} */
  #rooms = new Map();

  /** @param {Connection} connection */
  constructor(connection) {
    this.#connection = connection;
    /** The user's rooms, kept up to date by the channel `chats`. */
    this.inbox = new Inbox(connection, this);
  }

  get connection() {
    return this.#connection;
  }

  /**
   * The handle of a room; the same one each time. Call its `subscribe()` to hear it.
   *
   * @param {string} id
   */
  room(id) {
    const known = this.#rooms.get(id);
    if (known) return known;
    const room = new Room(this.#connection, id);
    room.on('presence', (presence) => this.inbox.handlePresence(presence));
    room.on('message_delivered', (position) => this.inbox.handlePosition('message_delivered', position));
    room.on('message_read', (position) => this.inbox.handlePosition('message_read', position));
    this.#rooms.set(id, room);
    return room;
  }

  /** Whether the server sends us this room now. @param {string} id */
  isOpen(id) {
    return this.#rooms.get(id)?.active ?? false;
  }

  /**
   * A page of the user's rooms, once, over HTTP; `inbox` keeps them up to date.
   *
   * @param {{ before?: string, limit?: number }} [page] `before` is the `next` of the page before
   * @returns {Promise<{ rooms: RoomListing[], has_more: boolean, next?: string }>}
   */
  rooms(page = {}) {
    return this.#connection.call('GET', `${API}/rooms${query(page)}`);
  }

  /**
   * Creates a room with us in it; a direct room that the pair already has is found instead.
   *
   * @param {{ kind: RoomKind, members: string[], title?: string }} room
   * @returns {Promise<RoomView>}
   */
  createRoom(room) {
    return this.#connection.call('POST', `${API}/rooms`, { body: room });
  }

  /**
   * Messages of our rooms with all of these words, newest first; the last word may be the beginning of one.
   *
   * @param {string} words
   * @param {{ room?: string, before?: string, limit?: number }} [options] `before` is the `created_at` of the last one known
   * @returns {Promise<{ messages: Message[], has_more: boolean }>}
   */
  search(words, options = {}) {
    return this.#connection.call('GET', `${API}/search${query({ q: words, ...options })}`);
  }

  /**
   * Whether somebody is connected; of people we share a room with.
   *
   * @param {string} userId
   * @returns {Promise<UserPresence>}
   */
  presence(userId) {
    return this.#connection.call('GET', `${API}/users/${encodeURIComponent(userId)}/presence`);
  }

  /** We want to hear nothing of a user. @param {string} userId @returns {Promise<void>} */
  block(userId) {
    return this.#connection.call('PUT', `${API}/blocks/${encodeURIComponent(userId)}`);
  }

  /** @param {string} userId @returns {Promise<void>} */
  unblock(userId) {
    return this.#connection.call('DELETE', `${API}/blocks/${encodeURIComponent(userId)}`);
  }

  /** Whom we block. @returns {Promise<User[]>} */
  async blocks() {
    return (await this.#connection.call('GET', `${API}/blocks`)).users;
  }
}
