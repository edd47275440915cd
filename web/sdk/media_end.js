// @ts-check
/** @file What publishing and watching have in common: one WebRTC connection at a time, given up and set up anew. */

import { Backoff } from './backoff.js';
import { Emitter } from './events.js';

/** @typedef {import('./errors.js').RedredError} RedredError */
/** @typedef {import('./live.js').LiveChannel} LiveChannel */
/** @typedef {import('./peer.js').Peer} Peer */

/**
 * Fields that begin with `_` are for the classes made of this one.
 *
 * @template {string} State
 * @template {{ state: { state: State, error?: RedredError } }} Events
 * @extends {Emitter<Events>}
 */
export class MediaEnd extends Emitter {
  /** @type {State} */
  #state;
  /** @type {Peer | null} */
  _peer = null;
  /** What the server calls the connection of `_peer`. @type {string | null} */
  _session = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  _timer;
  _backoff = new Backoff();
  /** Rises with every try, so that what belongs to an older one is recognised. */
  _attempt = 0;
  /** @type {(() => void)[]} */
  _offs = [];

  /**
   * @param {LiveChannel} live
   * @param {State} idle
   */
  constructor(live, idle) {
    super();
    this._live = live;
    this.#state = idle;
  }

  get state() {
    return this.#state;
  }

  /**
   * From now on this is the connection.
   *
   * @param {Peer} peer
   * @param {string} session
   */
  _take(peer, session) {
    this._peer = peer;
    this._session = session;
  }

  /** Nothing goes on by itself any more. */
  _finish() {
    this._attempt += 1;
    clearTimeout(this._timer);
    for (const off of this._offs) off();
    this._offs = [];
    this._closePeer();
  }

  _closePeer() {
    this._peer?.close();
    this._peer = null;
    this._session = null;
  }

  /**
   * @param {State} state
   * @param {RedredError} [error]
   */
  _setState(state, error) {
    if (state === this.#state) return;
    this.#state = state;
    this.emit('state', { state, error });
  }
}
