// @ts-check
/** @file A position that only moves forward, told to the server as seldom as possible. */

/** Moves the position to the newest wish, one request at a time; a wish made meanwhile goes with the next. */
export class Mark {
  #ask;
  #wanted = 0;
  #reached = 0;
  #isOpen = false;
  #isAsking = false;

  /** @param {(seq: number) => Promise<unknown>} ask */
  constructor(ask) {
    this.#ask = ask;
  }

  /** @param {number} seq */
  to(seq) {
    this.#wanted = Math.max(this.#wanted, seq);
    void this.#pump();
  }

  /** The server is known to be here already. @param {number} seq */
  reached(seq) {
    this.#reached = Math.max(this.#reached, seq);
  }

  /** The server hears us. */
  open() {
    this.#isOpen = true;
    void this.#pump();
  }

  /** It does not; the wish waits. */
  pause() {
    this.#isOpen = false;
  }

  async #pump() {
    if (!this.#isOpen || this.#isAsking || this.#wanted <= this.#reached) return;
    const seq = this.#wanted;
    this.#isAsking = true;
    try {
      await this.#ask(seq);
      this.#reached = Math.max(this.#reached, seq);
    } catch {
      // A break: the next `open` asks again. A refusal: the next wish does.
      this.#isAsking = false;
      return;
    }
    this.#isAsking = false;
    void this.#pump();
  }
}
