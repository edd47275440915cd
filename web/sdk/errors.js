// @ts-check
/** @file The one error type of the SDK, and what close codes mean. */

/** @typedef {import('./types.d.ts').WireError} WireError */

/**
 * Codes that the server never sends: they name what went wrong on this side of the wire.
 *
 * - `timeout`: no reply came in time.
 * - `disconnected`: the connection broke before the reply; it comes back by itself.
 * - `closed`: the connection is closed for good.
 * - `media_failed`: no way for media was found between this browser and the server.
 * - `not_supported`: this browser cannot do what was asked.
 */
export class RedredError extends Error {
  /**
   * @param {string} code a code of the protocol, or one of those above
   * @param {string} message plain words, for a log
   * @param {{ retryable?: boolean, retryAfterMs?: number, reason?: string, closeCode?: number }} [more]
   */
  constructor(code, message, more = {}) {
    super(message);
    this.name = 'RedredError';
    this.code = code;
    /** Whether the same request may succeed later. */
    this.retryable = more.retryable ?? false;
    /** How long to wait before asking again, when the server said so. */
    this.retryAfterMs = more.retryAfterMs;
    /** What exactly is in the way (`slow_mode`, `timeout`, `banned`, …), when the code alone does not say. */
    this.reason = more.reason;
    /** The WebSocket close code behind a `closed` or `disconnected`. */
    this.closeCode = more.closeCode;
  }

  /**
   * @param {WireError} error `data` of an `error` message
   * @returns {RedredError}
   */
  static fromWire(error) {
    return new RedredError(error.code, error.message, {
      retryable: error.retryable,
      retryAfterMs: error.retry_after_ms,
      reason: error.reason,
    });
  }
}

/** Close codes with a meaning of their own; for all others the band decides. */
export const CloseCode = Object.freeze({
  DRAINING: 4001,
  TOO_SLOW: 4002,
  IDLE: 4008,
  RATE_LIMITED: 4029,
  TOKEN_EXPIRED: 4041,
  NOT_AUTHORISED: 4501,
  REMOVED: 4503,
  REPLACED: 4509,
  ABUSE: 4529,
});

/**
 * Whether a client should come back after this close code. 4500–4999 says: stay away. Everything else, also a socket
 * that broke without a word (1006), is worth another try.
 *
 * @param {number} code
 */
export function mayReconnect(code) {
  return code < 4500 || code > 4999;
}
