// @ts-check
/** @file One channel of a connection: its position, and what to do about repeats and gaps. */

import { Emitter } from './events.js';

/** @typedef {import('./types.d.ts').Envelope<any>} Envelope */
/** @typedef {import('./types.d.ts').Subscribed<any>} Subscribed */
/** @typedef {import('./types.d.ts').Position} Position */
/** @typedef {import('./errors.js').RedredError} RedredError */

/** Ids remembered to recognise repeats; a server repeats only what is recent. */
const REMEMBERED_IDS = 512;

/**
 * @typedef {object} SubscriptionEvents
 * @property {Subscribed} subscribed for the first time and again after every reconnection
 * @property {Envelope} message once and, for persistent messages, in order
 * @property {RedredError} refused the server does not let us in; the subscription is over
 */

/** @extends {Emitter<SubscriptionEvents>} */
export class Subscription extends Emitter {
  /** @type {Position | null} */
  #position = null;
  /** @type {Set<string>} */
  #ids = new Set();
  #active = false;
  #recovering = false;
  /** The position that the last gap came after: a second one there is a gap that the server cannot fill. */
  #gapAfter = -1;
  #isSparse;
  #onGap;

  /**
   * @param {string} channel
   * @param {(subscription: Subscription) => void} onGap asks for what is missing
   * @param {import('./backoff.js').Backoff} backoff between tries that the server asks to repeat
   * @param {{ sparse?: boolean }} [options]
   */
  constructor(channel, onGap, backoff, { sparse = false } = {}) {
    super();
    this.channel = channel;
    this.backoff = backoff;
    this.#onGap = onGap;
    this.#isSparse = sparse;
  }

  /** True between `subscribed` and the loss of the connection. */
  get active() {
    return this.#active;
  }

  /** True while the server owes us an answer: it does not send the channel, or not all of it. */
  get isWaiting() {
    return !this.#active || this.#recovering;
  }

  /** The last persistent message seen, to go on from; null before the first `subscribed`. */
  get position() {
    return this.#position;
  }

  /** The connection is gone; the position stays. */
  handleDisconnect() {
    this.#active = false;
    this.#recovering = false;
  }

  /** @param {Subscribed} subscribed */
  handleSubscribed(subscribed) {
    // When recovered, what was missed still follows: our own position is the one to count from.
    if (!(subscribed.recovered && this.#position?.epoch === subscribed.epoch)) {
      this.#position = { epoch: subscribed.epoch, seq: subscribed.seq };
    }
    this.#active = true;
    this.#recovering = false;
    this.backoff.reset();
    this.emit('subscribed', subscribed);
  }

  /** @param {Envelope} envelope */
  handleMessage(envelope) {
    const { seq, epoch, id } = envelope.metadata ?? {};
    if (id !== undefined) {
      if (this.#ids.has(id)) return;
      // A message that a gap holds back comes again under the same id.
      if (seq === undefined) this.#remember(id);
    }
    if (typeof seq === 'number' && this.#position && this.#isSparse) {
      this.#position = { epoch: epoch ?? this.#position.epoch, seq: Math.max(seq, this.#position.seq) };
    } else if (typeof seq === 'number' && this.#position) {
      const sameEpoch = epoch === undefined || epoch === this.#position.epoch;
      if (sameEpoch && seq <= this.#position.seq) return;
      const isUnfilled = sameEpoch && !this.#recovering && this.#gapAfter === this.#position.seq;
      if (!isUnfilled && (!sameEpoch || seq > this.#position.seq + 1)) return this.#reportGap(this.#position.seq);
      this.#position = { epoch: this.#position.epoch, seq };
      if (id !== undefined) this.#remember(id);
    }
    this.emit('message', envelope);
  }

  /** Everything from the gap on is delivered again after the next `subscribed`, in order. @param {number} after */
  #reportGap(after) {
    if (this.#recovering) return;
    this.#recovering = true;
    this.#gapAfter = after;
    this.#onGap(this);
  }

  /** @param {string} id */
  #remember(id) {
    this.#ids.add(id);
    if (this.#ids.size > REMEMBERED_IDS) {
      const oldest = this.#ids.values().next().value;
      if (oldest !== undefined) this.#ids.delete(oldest);
    }
  }
}
