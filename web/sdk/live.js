// @ts-check
/** @file One live stream as its channel tells it: who is there, what is said, and what may be done about it. */

import { Emitter } from './events.js';
import { Publisher } from './publisher.js';
import { insist, uuid } from './retry.js';
import { Viewer } from './viewer.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./subscription.js').Subscription} Subscription */
/** @typedef {import('./types.d.ts').Envelope<any>} Envelope */
/** @typedef {import('./types.d.ts').Comment} Comment */
/** @typedef {import('./types.d.ts').LiveMessages} LiveMessages */
/** @typedef {import('./types.d.ts').LiveState} LiveState */
/** @typedef {import('./types.d.ts').Role} Role */
/** @typedef {import('./types.d.ts').Subscribed<LiveState>} Subscribed */
/** @typedef {import('./errors.js').RedredError} RedredError */
/** @typedef {import('./publisher.js').PublishOptions} PublishOptions */
/** @typedef {import('./viewer.js').WatchOptions} WatchOptions */

/** Comments kept; the oldest go first. */
const COMMENTS_MAX = 500;

/**
 * Everything in `LiveMessages` is an event of its own; besides these:
 *
 * @typedef {LiveMessages & {
 *   state: LiveState,
 *   subscribed: Subscribed & { resumed: boolean },
 *   disconnected: void,
 *   refused: RedredError,
 * }} LiveEvents
 */

/** @extends {Emitter<LiveEvents>} */
export class LiveChannel extends Emitter {
  #connection;
  /** @type {Subscription | null} */
  #subscription = null;
  /** @type {(() => void)[]} */
  #offs = [];
  /** @type {LiveState} */
  #state = {
    live: false,
    stream_id: null,
    title: '',
    tags: [],
    started_at: null,
    streamer: null,
    viewers: 0,
    tracks: [],
    role: 'viewer',
    permissions: { publish: false, moderate: false, chat: false },
    settings: { slow_mode_seconds: 0, pinned: null },
    comments: [],
    timed_out_until: null,
  };
  #wasSubscribed = false;

  /**
   * @param {Connection} connection
   * @param {string} stream the stream's name
   */
  constructor(connection, stream) {
    super();
    this.#connection = connection;
    this.stream = stream;
    this.channel = `live:${stream}`;
  }

  get connection() {
    return this.#connection;
  }

  /** What is known of the stream now. A new object after every change. */
  get state() {
    return this.#state;
  }

  /** True while the server sends us this channel. */
  get active() {
    return this.#subscription?.active ?? false;
  }

  /** Listens to the channel until `leave()`. Calling it again does nothing. */
  subscribe() {
    if (this.#subscription) return;
    const subscription = this.#connection.subscribe(this.channel);
    this.#subscription = subscription;
    this.#offs = [
      subscription.on('subscribed', (subscribed) => this.#handleSubscribed(subscribed)),
      subscription.on('message', (envelope) => this.#handleMessage(envelope)),
      subscription.on('refused', (error) => {
        this.#forget();
        this.emit('refused', error);
      }),
      this.#connection.on('state', ({ state }) => {
        if (state === 'waiting' || state === 'closed') this.emit('disconnected', undefined);
      }),
    ];
    if (subscription.active && subscription.position) this.emit('state', this.#state);
  }

  /** Stops listening; media that this channel started must be stopped on its own. */
  leave() {
    if (!this.#subscription) return;
    this.#forget();
    this.#connection.unsubscribe(this.channel);
  }

  #forget() {
    for (const off of this.#offs) off();
    this.#offs = [];
    this.#subscription = null;
  }

  // The stream's life.

  /**
   * Announces the stream, or takes it up again after a break.
   *
   * @param {{ title: string, tags?: string[] }} details
   * @returns {Promise<{ stream_id: string, session: string }>} `session` names the WebRTC connection to set up
   */
  startStream(details) {
    return this.request('start_stream', { ...details });
  }

  /** Ends the stream at once, for everyone. */
  endStream() {
    return this.request('end_stream', {});
  }

  /**
   * Goes live with these tracks.
   *
   * @param {MediaStream} media
   * @param {PublishOptions} options
   */
  publish(media, options) {
    return new Publisher(this, media, options);
  }

  /**
   * Watches the stream; while it is not live, waits for it.
   *
   * @param {WatchOptions} [options]
   */
  watch(options) {
    return new Viewer(this, options);
  }

  // Talking.

  /**
   * Says something. When the connection breaks meanwhile the comment is sent again after it is back; the server
   * recognises it by its id, so it appears once.
   *
   * @param {string} text 1 to 500 characters
   */
  comment(text) {
    const data = { text, client_id: uuid() };
    return insist(this.#connection.clock, (leftMs) => this.request('comment', data, leftMs));
  }

  /** @param {string} emoji */
  react(emoji) {
    return this.#connection.send('reaction', { emoji }, this.channel);
  }

  // Moderation.

  /** @param {string} id of a comment */
  deleteComment(id) {
    return this.request('delete_comment', { id });
  }

  /**
   * Sends someone away; they may come back.
   *
   * @param {string} userId
   * @param {string} [reason]
   */
  kick(userId, reason) {
    return this.request('kick', { user_id: userId, reason });
  }

  /**
   * Sends someone away for good.
   *
   * @param {string} userId
   * @param {string} [reason]
   */
  ban(userId, reason) {
    return this.request('ban', { user_id: userId, reason });
  }

  /** @param {string} userId */
  unban(userId) {
    return this.request('unban', { user_id: userId });
  }

  /**
   * Keeps someone from commenting for a while.
   *
   * @param {string} userId
   * @param {number} seconds
   * @param {string} [reason]
   */
  timeout(userId, seconds, reason) {
    return this.request('timeout', { user_id: userId, seconds, reason });
  }

  /** @param {number} seconds between two comments of one viewer; 0 switches slow mode off */
  slowMode(seconds) {
    return this.request('slow_mode', { seconds });
  }

  /** @param {string | null} id of a comment; null takes the pin away */
  pin(id) {
    return this.request('pin_comment', { id });
  }

  /**
   * @param {string} userId
   * @param {Exclude<Role, 'streamer'>} role
   */
  setRole(userId, role) {
    return this.request('set_role', { user_id: userId, role });
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
   */
  send(type, data) {
    return this.#connection.send(type, data, this.channel);
  }

  /** @param {Subscribed} subscribed */
  #handleSubscribed(subscribed) {
    const resumed = this.#wasSubscribed && (this.#connection.session?.resumed ?? false);
    this.#wasSubscribed = true;
    const state = { ...this.#state, ...subscribed.state };
    // The comments missed follow as messages; the ones we have are kept, so that a view need not jump.
    if (subscribed.recovered) state.comments = mergeComments(this.#state.comments, subscribed.state?.comments ?? []);
    this.#update(state);
    this.emit('subscribed', { ...subscribed, state, resumed });
  }

  /** @param {Envelope} envelope */
  #handleMessage({ type, data }) {
    const change = reduce(this.#state, type, data, this.#connection.session?.user_id ?? '');
    if (change === DUPLICATE) return;
    if (change) this.#update({ ...this.#state, ...change });
    this.emit(/** @type {keyof LiveMessages} */ (type), data);
  }

  /** @param {LiveState} state */
  #update(state) {
    this.#state = state;
    this.emit('state', state);
  }
}

const DUPLICATE = Symbol('duplicate');

/**
 * What a message changes about the state; null when nothing.
 *
 * @param {LiveState} state
 * @param {string} type
 * @param {any} data
 * @param {string} userId our own
 * @returns {Partial<LiveState> | null | typeof DUPLICATE}
 */
function reduce(state, type, data, userId) {
  switch (type) {
    case 'stream_started':
      return {
        live: true,
        stream_id: data.stream_id,
        title: data.title,
        tags: data.tags ?? [],
        started_at: data.started_at,
        tracks: data.tracks ?? [],
        streamer: data.streamer ?? state.streamer,
      };
    case 'stream_ended':
      return { live: false, stream_id: null, started_at: null, tracks: [] };
    case 'stream_updated':
      return { title: data.title, tags: data.tags };
    case 'tracks_changed':
      return { tracks: data.tracks };
    case 'viewers_update':
      return { viewers: data.count };
    case 'comment':
      if (state.comments.some((comment) => comment.id === data.id)) return DUPLICATE;
      return { comments: [...state.comments, data].slice(-COMMENTS_MAX) };
    case 'comment_deleted':
      return { comments: state.comments.filter((comment) => comment.id !== data.id) };
    case 'room_settings':
      return { settings: { ...state.settings, ...data } };
    case 'role_changed':
      return {
        ...(data.user_id === userId && {
          role: data.role,
          permissions: { ...state.permissions, moderate: data.role === 'moderator' || state.role === 'streamer' },
        }),
        comments: state.comments.map((comment) =>
          comment.user.id === data.user_id ? { ...comment, user: { ...comment.user, role: data.role } } : comment,
        ),
      };
    case 'user_moderated':
      if (data.user_id !== userId || data.action !== 'timeout') return null;
      return { timed_out_until: data.until ?? new Date(Date.now() + (data.seconds ?? 0) * 1000).toISOString() };
    default:
      return null;
  }
}

/**
 * @param {Comment[]} ours
 * @param {Comment[]} theirs
 * @returns {Comment[]}
 */
function mergeComments(ours, theirs) {
  const known = new Set(ours.map((comment) => comment.id));
  const merged = [...ours, ...theirs.filter((comment) => !known.has(comment.id))];
  return merged.slice(-COMMENTS_MAX);
}
