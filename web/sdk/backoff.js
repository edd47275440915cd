// @ts-check
/** @file How long to wait before trying again. */

/** First ceiling of a wait. Lower hammers a server that just restarted; higher makes a short glitch felt. */
const BASE_MS = 500;
/** Last ceiling. Higher spares a server that is down for long; lower brings viewers back sooner. */
const CAP_MS = 15_000;

/** Exponential backoff with full jitter: a uniform draw below a ceiling that doubles with every failure. */
export class Backoff {
  #failures = 0;
  #random;

  /** @param {() => number} random */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /** How often it failed in a row. */
  get failures() {
    return this.#failures;
  }

  /** Counts a failure and draws the wait after it, in milliseconds. */
  next() {
    const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    return Math.round(this.#random() * ceiling);
  }

  /** Forgets the failures. Call it only after something proved useful, or every failure starts from the first ceiling. */
  reset() {
    this.#failures = 0;
  }
}
