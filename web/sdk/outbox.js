// @ts-check
/** @file Messages on their way to a room: one at a time, in order, again after a break, each stored once. */

import { Backoff } from './backoff.js';
import { RedredError } from './errors.js';
import { Emitter } from './events.js';
import { uuid } from './retry.js';

/** @typedef {import('./types.d.ts').Clock} Clock */
/** @typedef {import('./types.d.ts').Attachment} Attachment */
/** @typedef {import('./drafts.js').Drafts} Drafts */

/**
 * @typedef {object} Draft
 * @property {string} text
 * @property {string} client_id by which the server recognises a repeat
 * @property {string} [reply_to_id]
 * @property {Attachment[]} [attachments]
 */

/**
 * @typedef {object} Item
 * @property {Draft} draft
 * @property {string} created_at by our own clock
 * @property {'sending' | 'failed'} status
 * @property {RedredError} [error] why it failed
 * @property {(ack: any) => void} resolve
 * @property {(error: RedredError) => void} reject
 */

/**
 * @typedef {object} OutboxEvents
 * @property {void} change
 * @property {{ draft: Draft, ack: any }} sent
 */

/** @extends {Emitter<OutboxEvents>} */
export class Outbox extends Emitter {
  #clock;
  #send;
  /** @type {Item[]} */
  #items = [];
  /** @type {Item | null} */
  #flying = null;
  #isOpen = false;
  #backoff = new Backoff();
  /** @type {Drafts | null} */
  #drafts = null;
  /** @type {unknown} */
  #timer = undefined;

  /**
   * @param {Clock} clock
   * @param {(draft: Draft) => Promise<any>} send asks the server once
   */
  constructor(clock, send) {
    super();
    this.#clock = clock;
    this.#send = send;
  }

  /** What is not stored yet, in the order it was written. */
  get items() {
    return this.#items;
  }

  /**
   * @param {Omit<Draft, 'client_id'>} draft
   * @returns {Promise<any>} data of the `ack`; rejects when the server refuses it for good
   */
  add(draft) {
    const stored = new Promise((resolve, reject) => {
      this.#items.push({
        draft: { ...draft, client_id: uuid() },
        created_at: new Date(this.#clock.now()).toISOString(),
        status: 'sending',
        resolve,
        reject,
      });
    });
    // Whoever shows `items` sees a refusal there, and need not wait for this.
    stored.catch(() => {});
    this.#changed();
    void this.#pump();
    return stored;
  }

  /**
   * Takes up what an earlier page left there, before what was written on this one, and keeps everything there from now on.
   *
   * @param {Drafts} drafts
   */
  keep(drafts) {
    if (this.#drafts) return;
    this.#drafts = drafts;
    const known = new Set(this.#items.map(({ draft }) => draft.client_id));
    const left = drafts.load().filter(({ draft }) => !known.has(draft.client_id));
    // Whoever wrote them is gone with the page.
    const restored = left.map((kept) => ({ ...kept, resolve: () => {}, reject: () => {} }));
    this.#items = [...restored, ...this.#items];
    if (this.#items.length > 0) this.#changed();
  }

  /** Tries once more what was refused. @param {string} clientId */
  retry(clientId) {
    const item = this.#items.find(({ draft, status }) => draft.client_id === clientId && status === 'failed');
    if (!item) return;
    item.status = 'sending';
    delete item.error;
    this.#changed();
    void this.#pump();
  }

  /** Forgets what was refused. @param {string} clientId */
  discard(clientId) {
    this.#items = this.#items.filter(({ draft, status }) => draft.client_id !== clientId || status !== 'failed');
    this.#changed();
  }

  /** The server told everybody of this message: it is stored, whatever becomes of its `ack`. @param {any} message */
  confirm(message) {
    const item = this.#items.find(({ draft }) => draft.client_id === message.client_id);
    if (item) this.#finish(item, message);
  }

  /** The server hears us. */
  open() {
    this.#isOpen = true;
    void this.#pump();
  }

  /** It does not; what is here waits. */
  pause() {
    this.#isOpen = false;
    this.#flying = null;
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** It never will again. @param {RedredError} error */
  close(error) {
    this.pause();
    for (const item of this.#items) this.#fail(item, error);
  }

  async #pump() {
    if (!this.#isOpen || this.#flying || this.#timer !== undefined) return;
    const item = this.#items.find(({ status }) => status === 'sending');
    if (!item) return;
    this.#flying = item;
    try {
      const ack = await this.#send(item.draft);
      this.#backoff.reset();
      this.#finish(item, ack);
    } catch (error) {
      if (this.#flying !== item) return;
      this.#flying = null;
      if (!(error instanceof RedredError)) throw error;
      // Nobody knows whether it was stored: the next `open` sends it again under the same id.
      if (error.code === 'disconnected' || error.code === 'closed') return;
      if (error.retryable) {
        const waitMs = Math.max(error.retryAfterMs ?? 0, this.#backoff.next());
        this.#timer = this.#clock.setTimeout(() => {
          this.#timer = undefined;
          void this.#pump();
        }, waitMs);
        return;
      }
      this.#fail(item, error);
    }
    void this.#pump();
  }

  /**
   * @param {Item} item
   * @param {any} ack
   */
  #finish(item, ack) {
    if (this.#flying === item) this.#flying = null;
    if (!this.#items.includes(item)) return;
    this.#items = this.#items.filter((other) => other !== item);
    this.#drafts?.save(this.#items);
    this.emit('sent', { draft: item.draft, ack });
    item.resolve(ack);
    void this.#pump();
  }

  /**
   * @param {Item} item
   * @param {RedredError} error
   */
  #fail(item, error) {
    if (item.status === 'failed') return;
    item.status = 'failed';
    item.error = error;
    item.reject(error);
    this.#changed();
  }

  #changed() {
    this.#drafts?.save(this.#items);
    this.emit('change', undefined);
  }
}
