// @ts-check
/** @file Asking again what a broken connection left unanswered, and the ids by which the server recognises it. */

import { RedredError } from './errors.js';

/** @typedef {import('./types.d.ts').Clock} Clock */

/** How long a request may wait for a broken connection to come back before its sender is told. */
const PATIENCE_MS = 20_000;

/**
 * Repeats a request whose connection broke before the reply. Only for requests that may be carried out twice: those with a
 * `client_id`, and those that set something.
 *
 * @template T
 * @param {Clock} clock
 * @param {(leftMs: number) => Promise<T>} ask
 * @returns {Promise<T>}
 */
export async function insist(clock, ask) {
  const deadline = clock.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await ask(deadline - clock.now());
    } catch (error) {
      const isLost = error instanceof RedredError && error.code === 'disconnected';
      if (!isLost || clock.now() >= deadline) throw error;
    }
  }
}

/** A random UUID (RFC 9562 section 5.4). `crypto.randomUUID` is missing on pages that are not https or localhost. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
