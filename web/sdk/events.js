// @ts-check
/** @file A small typed event emitter, so that the SDK behaves the same in browsers and under Node. */

/**
 * @template {Record<string, any>} Events maps each event's name to what its listeners receive
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(detail: any) => void>>} */
  #listeners = new Map();

  /**
   * @template {keyof Events} K
   * @param {K} event
   * @param {(detail: Events[K]) => void} listener
   * @returns {() => void} stops listening
   */
  on(event, listener) {
    let listeners = this.#listeners.get(event);
    if (!listeners) this.#listeners.set(event, (listeners = new Set()));
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /**
   * @template {keyof Events} K
   * @param {K} event
   * @param {(detail: Events[K]) => void} listener
   * @returns {() => void} stops listening
   */
  once(event, listener) {
    const off = this.on(event, (detail) => {
      off();
      listener(detail);
    });
    return off;
  }

  /**
   * A listener that throws is reported and does not keep the others from hearing.
   *
   * @template {keyof Events} K
   * @param {K} event
   * @param {Events[K]} detail
   */
  emit(event, detail) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        console.error(`a listener of "${String(event)}" threw`, error);
      }
    }
  }
}
