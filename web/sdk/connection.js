// @ts-check
/** @file One WebSocket that comes back by itself: requests, subscriptions, heartbeat, tokens. */

import { call } from './api.js';
import { Backoff } from './backoff.js';
import { CloseCode, mayReconnect, RedredError } from './errors.js';
import { Emitter } from './events.js';
import { Subscription } from './subscription.js';
import { refreshDelay } from './token.js';

/** @typedef {import('./types.d.ts').Envelope<any>} Envelope */
/** @typedef {import('./types.d.ts').Established} Established */
/** @typedef {import('./types.d.ts').ConnectionOptions} ConnectionOptions */
/** @typedef {import('./types.d.ts').ConnectionState} ConnectionState */
/** @typedef {import('./types.d.ts').Clock} Clock */
/** @typedef {import('./types.d.ts').Socket} Socket */

const SUBPROTOCOL = 'redred.v1';
/** A connection that lived this long was useful; one that ends sooner counts as another failure. */
const USEFUL_AFTER_MS = 10_000;
/** From opening the socket to `connection_established`; the server gives up after the same time. */
const ESTABLISH_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** Told that it asks too often, a client stays away at least this long. */
const RATE_LIMITED_WAIT_MS = 5_000;
/** Timers of browsers overflow beyond 31 bits. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * @typedef {object} Change
 * @property {ConnectionState} state
 * @property {number} [delayMs] with `waiting`: when the next try starts
 * @property {number} [code] with `waiting` and `closed`: the close code behind it
 * @property {string} [reason]
 */

/**
 * @typedef {object} ConnectionEvents
 * @property {Change} state
 * @property {Established} established
 * @property {{ code: number, reason: string }} closed for good: by `close()`, or because the server says to stay away
 * @property {RedredError} error an error that answers no request of ours
 */

/**
 * @typedef {object} Pending
 * @property {(data: any) => void} resolve
 * @property {(error: RedredError) => void} reject
 * @property {unknown} timer
 * @property {string | null} unsent the message, while it waits for the connection
 */

/** @type {Clock} */
const SYSTEM_CLOCK = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => globalThis.setTimeout(callback, ms),
  clearTimeout: (handle) => globalThis.clearTimeout(/** @type {any} */ (handle)),
};

/** @extends {Emitter<ConnectionEvents>} */
export class Connection extends Emitter {
  #options;
  #clock;
  #backoff;
  /** @type {ConnectionState} */
  #state = 'idle';
  /** @type {Socket | null} */
  #socket = null;
  /** Rises with every try, so that what belongs to an older one is recognised. */
  #attempt = 0;
  /** @type {Established | null} */
  #established = null;
  #establishedAt = 0;
  #receivedAt = 0;
  /** @type {string | null} */
  #resumeToken = null;
  #refreshNext = false;
  /** What HTTP requests carry. @type {string | null} */
  #lastToken = null;
  /** @type {number | null} */
  #drainDelayMs = null;
  /** @type {Map<string, Pending>} */
  #pending = new Map();
  #nextId = 1;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** @type {Map<'establish' | 'retry' | 'heartbeat' | 'pong' | 'refresh', unknown>} */
  #timers = new Map();
  /** @type {(() => void) | null} */
  #stopListening = null;

  /** @param {ConnectionOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#backoff = new Backoff(options.random);
  }

  get state() {
    return this.#state;
  }

  /** What time it is, and timers: the system's, or those a test brought. */
  get clock() {
    return this.#clock;
  }

  /** Where messages are kept that are not stored yet; null when they wait in memory only. */
  get store() {
    return this.#options.store ?? null;
  }

  /** What `connection_established` said last; null before the first. */
  get session() {
    return this.#established;
  }

  /**
   * Opens the connection and keeps it open until `close()`.
   *
   * @returns {Promise<Established>} resolves with the first session; rejects only when the server says to stay away
   */
  connect() {
    if (this.#state === 'open' && this.#established) return Promise.resolve(this.#established);
    const established = new Promise((resolve, reject) => {
      const offs = [
        this.on('established', (session) => settle(() => resolve(session))),
        this.on('closed', ({ code, reason }) =>
          settle(() => reject(new RedredError('closed', reason, { closeCode: code }))),
        ),
      ];
      const settle = (/** @type {() => void} */ finish) => {
        for (const off of offs) off();
        finish();
      };
    });
    if (this.#state === 'idle' || this.#state === 'closed') {
      this.#listenToNetwork();
      void this.#open();
    }
    return established;
  }

  /** Closes for good; what still waits for a reply is rejected. */
  close() {
    if (this.#state === 'closed') return;
    const socket = this.#socket;
    this.#finish(1000, 'closed by this side');
    socket?.close(1000);
  }

  /**
   * Sends a message that asks for no reply; dropped while there is no connection.
   *
   * @param {string} type
   * @param {Record<string, unknown>} data
   * @param {string} [channel]
   * @returns {boolean} whether it was sent
   */
  send(type, data, channel) {
    if (this.#state !== 'open' || !this.#socket) return false;
    this.#socket.send(JSON.stringify(channel ? { type, data, metadata: { channel } } : { type, data }));
    return true;
  }

  /**
   * Sends a request. While there is no connection it waits for one, within its timeout; a request that was already sent
   * when the connection broke is rejected with `disconnected`, since nobody knows whether it was carried out.
   *
   * @param {string} type
   * @param {Record<string, unknown>} data
   * @param {{ channel?: string, timeoutMs?: number }} [options]
   * @returns {Promise<any>} `data` of the `ack`
   */
  request(type, data, options = {}) {
    const text = (/** @type {string} */ id) =>
      JSON.stringify({ type, data, metadata: { id, ...(options.channel && { channel: options.channel }) } });
    return this.#request(type, text, options.timeoutMs);
  }

  /**
   * Listens to a channel, now and after every reconnection, until `unsubscribe`.
   *
   * @param {string} channel
   * @param {{ sparse?: boolean }} [options] `sparse`: positions of this channel may skip without anything missing
   * @returns {Subscription}
   */
  subscribe(channel, options) {
    const known = this.#subscriptions.get(channel);
    if (known) return known;
    const subscription = new Subscription(channel, (gapped) => this.#sendSubscribe(gapped), new Backoff(this.#options.random), options);
    this.#subscriptions.set(channel, subscription);
    if (this.#state === 'open') this.#sendSubscribe(subscription);
    return subscription;
  }

  /** @param {string} channel */
  unsubscribe(channel) {
    if (!this.#subscriptions.delete(channel)) return;
    this.send('unsubscribe', { channel }, channel);
  }

  /**
   * Asks over HTTP, with the token of this connection.
   *
   * @param {string} method
   * @param {string} path
   * @param {{ body?: unknown, headers?: Record<string, string> }} [options]
   * @returns {Promise<any>} the body of the answer
   */
  async call(method, path, { body, headers } = {}) {
    const { url } = this.#options;
    const token = this.#lastToken ?? (await this.#token());
    try {
      return await call(method, path, { url, token, headers }, body);
    } catch (error) {
      if (!(error instanceof RedredError) || error.code !== 'unauthorized' || typeof this.#options.token === 'string') throw error;
      this.#refreshNext = true;
      return call(method, path, { url, token: await this.#token(), headers }, body);
    }
  }

  // Opening.

  async #open() {
    const attempt = ++this.#attempt;
    this.#clearTimer('retry');
    this.#setState({ state: 'connecting' });
    let token;
    try {
      token = await this.#token();
    } catch (error) {
      if (attempt === this.#attempt) this.#retry(this.#backoff.next(), 0, String(error));
      return;
    }
    if (attempt !== this.#attempt) return;

    const Socket = this.#options.WebSocket ?? WebSocket;
    /** @type {import('./types.d.ts').Socket} */
    const socket = new Socket(this.#url(), [SUBPROTOCOL, `redred.token.${token}`]);
    this.#socket = socket;
    this.#setTimer('establish', ESTABLISH_TIMEOUT_MS, () => this.#drop('no session in time'));
    socket.onmessage = (event) => {
      if (attempt === this.#attempt) this.#handleText(event.data, token);
    };
    socket.onclose = (event) => {
      if (attempt === this.#attempt) this.#handleClose(event.code ?? 1006, event.reason ?? '');
    };
    // A browser tells nothing in `error`; `close` follows.
    socket.onerror = null;
  }

  async #token() {
    const { token } = this.#options;
    if (typeof token === 'string') return token;
    const purpose = this.#refreshNext ? 'refresh' : 'connect';
    const fresh = await token({ purpose });
    this.#refreshNext = false;
    this.#lastToken = fresh;
    return fresh;
  }

  #url() {
    const url = new URL('/ws', this.#options.url ?? globalThis.location?.href);
    url.protocol = url.protocol.replace('http', 'ws');
    if (this.#resumeToken) url.searchParams.set('resume', this.#resumeToken);
    return url.href;
  }

  /**
   * @param {Established} established
   * @param {string} token
   */
  #handleEstablished(established, token) {
    this.#established = established;
    this.#resumeToken = established.resume_token;
    this.#establishedAt = this.#clock.now();
    this.#clearTimer('establish');
    this.#setState({ state: 'open' });
    this.#scheduleHeartbeat();
    this.#scheduleRefresh(token);
    // Subscriptions go first: what waits may be about their channels.
    for (const subscription of this.#subscriptions.values()) this.#sendSubscribe(subscription);
    for (const pending of this.#pending.values()) {
      if (pending.unsent === null) continue;
      this.#socket?.send(pending.unsent);
      pending.unsent = null;
    }
    this.emit('established', established);
  }

  // Receiving.

  /**
   * @param {unknown} text
   * @param {string} token the one this socket was opened with
   */
  #handleText(text, token) {
    this.#receivedAt = this.#clock.now();
    /** @type {Envelope} */
    let envelope;
    try {
      envelope = JSON.parse(String(text));
    } catch {
      return;
    }
    if (typeof envelope?.type !== 'string') return;
    const data = envelope.data ?? {};
    const replyTo = envelope.metadata?.reply_to;
    switch (envelope.type) {
      case 'connection_established':
        return this.#handleEstablished(data, token);
      case 'ack':
        return this.#settle(replyTo, (pending) => pending.resolve(data));
      case 'error': {
        const error = RedredError.fromWire(data);
        if (replyTo === undefined) return this.emit('error', error);
        return this.#settle(replyTo, (pending) => pending.reject(error));
      }
      case 'ping':
        return void this.send('pong', {});
      case 'pong':
        return;
      case 'draining':
        this.#drainDelayMs = data.reconnect_after_ms ?? 0;
        return;
      case 'subscribed':
        return this.#subscriptions.get(data.channel)?.handleSubscribed(data);
      default:
        return this.#subscriptions.get(envelope.metadata?.channel ?? '')?.handleMessage({ ...envelope, data });
    }
  }

  // Closing.

  /**
   * @param {number} code
   * @param {string} reason
   */
  #handleClose(code, reason) {
    if (!mayReconnect(code)) return this.#finish(code, reason);
    const wasOpen = this.#state === 'open';
    if (wasOpen && this.#clock.now() - this.#establishedAt >= USEFUL_AFTER_MS) this.#backoff.reset();
    // A refused upgrade looks like a broken one to a script; a token that ran out may be why.
    if (code === CloseCode.TOKEN_EXPIRED || !wasOpen) this.#refreshNext = true;

    let delayMs = this.#backoff.next();
    if (code === CloseCode.RATE_LIMITED) delayMs += RATE_LIMITED_WAIT_MS;
    if (this.#drainDelayMs !== null) delayMs = this.#drainDelayMs;
    this.#drainDelayMs = null;
    this.#retry(delayMs, code, reason);
  }

  /** The socket is dead but does not know: waiting for its `close` can take minutes. @param {string} reason */
  #drop(reason) {
    const socket = this.#socket;
    this.#attempt += 1;
    this.#handleClose(1006, reason);
    socket?.close();
  }

  /**
   * @param {number} delayMs
   * @param {number} code
   * @param {string} reason
   */
  #retry(delayMs, code, reason) {
    this.#leaveSocket();
    for (const [id, pending] of [...this.#pending]) {
      if (pending.unsent !== null) continue;
      const error = new RedredError('disconnected', 'the connection broke', { retryable: true, closeCode: code });
      this.#settle(id, () => pending.reject(error));
    }
    this.#setTimer('retry', delayMs, () => void this.#open());
    this.#setState({ state: 'waiting', delayMs, code, reason });
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #finish(code, reason) {
    this.#attempt += 1;
    this.#leaveSocket();
    this.#clearTimer('retry');
    this.#stopListening?.();
    this.#stopListening = null;
    this.#resumeToken = null;
    for (const [id, pending] of [...this.#pending]) {
      this.#settle(id, () => pending.reject(new RedredError('closed', reason, { closeCode: code })));
    }
    this.#setState({ state: 'closed', code, reason });
    this.emit('closed', { code, reason });
  }

  #leaveSocket() {
    this.#socket = null;
    for (const name of /** @type {const} */ (['establish', 'heartbeat', 'pong', 'refresh'])) this.#clearTimer(name);
    for (const subscription of this.#subscriptions.values()) subscription.handleDisconnect();
  }

  // Requests.

  /**
   * @param {string} type
   * @param {(id: string) => string} text
   * @param {number} [timeoutMs]
   * @returns {Promise<any>}
   */
  #request(type, text, timeoutMs = this.#options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS) {
    if (this.#state === 'closed') return Promise.reject(new RedredError('closed', 'the connection is closed'));
    const id = `c-${this.#nextId++}`;
    return new Promise((resolve, reject) => {
      const timer = this.#clock.setTimeout(() => {
        const error = new RedredError('timeout', `no reply to ${type} in time`, { retryable: true });
        this.#settle(id, () => reject(error));
      }, timeoutMs);
      const message = text(id);
      const open = this.#state === 'open' && this.#socket;
      this.#pending.set(id, { resolve, reject, timer, unsent: open ? null : message });
      if (open) open.send(message);
    });
  }

  /**
   * Only the first reply to a request counts.
   *
   * @param {string | undefined} id
   * @param {(pending: Pending) => void} finish
   */
  #settle(id, finish) {
    const pending = this.#pending.get(id ?? '');
    if (!pending || id === undefined) return;
    this.#pending.delete(id);
    this.#clock.clearTimeout(pending.timer);
    finish(pending);
  }

  /** @param {Subscription} subscription */
  #sendSubscribe(subscription) {
    const { channel, position } = subscription;
    const data = position ? { channel, since: position } : { channel };
    const attempt = this.#attempt;
    this.request('subscribe', data, { channel }).catch((error) => {
      if (this.#subscriptions.get(channel) !== subscription) return;
      if (error.code === 'disconnected' || error.code === 'closed') return;
      if (error.code === 'timeout') return this.#drop(`no answer to the subscription of ${channel}`);
      if (error.retryable) return this.#subscribeLater(subscription, attempt, error.retryAfterMs ?? 0);
      this.#subscriptions.delete(channel);
      subscription.emit('refused', error);
    });
  }

  /**
   * What is behind one channel may be out of order while the others go on.
   *
   * @param {Subscription} subscription
   * @param {number} attempt
   * @param {number} atLeastMs
   */
  #subscribeLater(subscription, attempt, atLeastMs) {
    const waitMs = Math.max(atLeastMs, subscription.backoff.next());
    this.#clock.setTimeout(() => {
      const isWanted = this.#subscriptions.get(subscription.channel) === subscription && attempt === this.#attempt;
      if (isWanted && this.#state === 'open' && subscription.isWaiting) this.#sendSubscribe(subscription);
    }, waitMs);
  }

  // Heartbeat and token.

  #scheduleHeartbeat() {
    const heartbeatMs = this.#established?.heartbeat_ms || 25_000;
    this.#setTimer('heartbeat', heartbeatMs, () => {
      const sentAt = this.#clock.now();
      this.send('ping', {});
      // Counted from the ping, not from the last message: after a laptop's sleep the socket gets a chance to answer.
      this.#setTimer('pong', heartbeatMs, () => {
        if (this.#receivedAt < sentAt) this.#drop('no sign of life');
      });
      this.#scheduleHeartbeat();
    });
  }

  /** @param {string} token */
  #scheduleRefresh(token) {
    const source = this.#options.token;
    if (typeof source === 'string') return;
    const delayMs = refreshDelay(token, this.#clock.now());
    if (delayMs === null) return;
    this.#setTimer('refresh', delayMs, async () => {
      try {
        const fresh = await source({ purpose: 'refresh' });
        await this.request('refresh_token', { token: fresh });
        this.#lastToken = fresh;
        this.#scheduleRefresh(fresh);
      } catch {
        // The server ends the session with 4041 when its token does; the next connection brings a new one.
      }
    });
  }

  // Timers and the network.

  /** Back online is the best moment to try, and a network that went away answers no ping. */
  #listenToNetwork() {
    if (typeof globalThis.addEventListener !== 'function') return;
    const online = () => {
      if (this.#state === 'waiting') void this.#open();
    };
    globalThis.addEventListener('online', online);
    this.#stopListening = () => globalThis.removeEventListener('online', online);
  }

  /**
   * @param {'establish' | 'retry' | 'heartbeat' | 'pong' | 'refresh'} name
   * @param {number} ms
   * @param {() => void} callback
   */
  #setTimer(name, ms, callback) {
    this.#clearTimer(name);
    this.#timers.set(name, this.#clock.setTimeout(callback, Math.min(ms, LONGEST_TIMER_MS)));
  }

  /** @param {'establish' | 'retry' | 'heartbeat' | 'pong' | 'refresh'} name */
  #clearTimer(name) {
    const timer = this.#timers.get(name);
    if (timer === undefined) return;
    this.#clock.clearTimeout(timer);
    this.#timers.delete(name);
  }

  /** @param {Change} change */
  #setState(change) {
    this.#state = change.state;
    this.emit('state', change);
  }
}
