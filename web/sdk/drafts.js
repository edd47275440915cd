// @ts-check
/** @file What an outbox keeps in a browser's storage, so that a reload of the page loses no message. */

/** @typedef {import('./types.d.ts').Store} Store */
/** @typedef {import('./outbox.js').Draft} Draft */

/**
 * @typedef {object} Kept
 * @property {Draft} draft
 * @property {string} created_at
 * @property {'sending' | 'failed'} status
 */

/** Of one room. What is written behind them waits in memory only. */
const KEPT_MAX = 100;

export class Drafts {
  #store;
  #key;

  /**
   * @param {Store} store
   * @param {string} user whose messages they are: another user of this browser must not send them
   * @param {string} room
   */
  constructor(store, user, room) {
    this.#store = store;
    this.#key = `redred.outbox:${user}:${room}`;
  }

  /** @returns {Kept[]} */
  load() {
    try {
      const kept = JSON.parse(this.#store.getItem(this.#key) ?? '[]');
      return Array.isArray(kept) ? kept.filter(isKept) : [];
    } catch {
      // Not ours, or nobody may read here: then there is nothing to send.
      return [];
    }
  }

  /** @param {Kept[]} items */
  save(items) {
    const kept = items.slice(0, KEPT_MAX).map(({ draft, created_at, status }) => ({ draft, created_at, status }));
    try {
      if (kept.length === 0) this.#store.removeItem(this.#key);
      else this.#store.setItem(this.#key, JSON.stringify(kept));
    } catch {
      // Full or forbidden: they wait in memory as without a store.
    }
  }
}

/** @param {any} kept */
function isKept(kept) {
  return (
    typeof kept?.draft?.text === 'string' &&
    typeof kept.draft.client_id === 'string' &&
    typeof kept.created_at === 'string' &&
    (kept.status === 'sending' || kept.status === 'failed')
  );
}
