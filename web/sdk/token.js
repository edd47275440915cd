// @ts-check
/** @file Reading tokens. Nothing here verifies one; only the server can. */

/**
 * @typedef {object} Claims
 * @property {string} [sub]
 * @property {string} [name]
 * @property {number} [exp] seconds since 1970
 * @property {{ publish?: string[], watch?: string[], moderate?: string[], chat?: string[], admin?: boolean }} [grants]
 */

/**
 * @param {string} token a JWT
 * @returns {Claims | null} null when it is not one
 */
export function readClaims(token) {
  const payload = token.split('.')[1];
  if (!payload) return null;
  try {
    const binary = atob(payload.replaceAll('-', '+').replaceAll('_', '/'));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

/**
 * When to ask for the next token: a minute before this one ends, or after four fifths of a short life.
 *
 * @param {string} token
 * @param {number} now milliseconds since 1970
 * @returns {number | null} milliseconds to wait, null when the token names no end
 */
export function refreshDelay(token, now) {
  const exp = readClaims(token)?.exp;
  if (typeof exp !== 'number') return null;
  const left = exp * 1000 - now;
  return Math.max(0, Math.max(left - 60_000, left * 0.8));
}
