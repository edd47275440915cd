// @ts-check
/** @file The HTTP side: who is live, demo tokens, and how anything else is asked. */

import { RedredError } from './errors.js';

/** @typedef {import('./types.d.ts').StreamSummary} StreamSummary */
/** @typedef {import('./types.d.ts').StreamsUpdate} StreamsUpdate */

/**
 * @typedef {object} ApiOptions
 * @property {string} [url] where the server is; the page's own origin by default
 * @property {string} [token]
 * @property {Record<string, string>} [headers]
 */

/**
 * A demo token with whatever grants are asked for. Only a server in dev mode gives them; others answer `not_found`.
 *
 * @param {{ name: string, sub?: string, grants?: import('./token.js').Claims['grants'] }} claims
 * @param {ApiOptions} [options]
 * @returns {Promise<{ token: string, sub: string, expires_at: string | number }>}
 */
export function devToken(claims, options) {
  return call('POST', '/api/v1/dev/token', options, claims);
}

/**
 * Who is live.
 *
 * @param {ApiOptions} [options]
 * @returns {Promise<StreamsUpdate>}
 */
export function listStreams(options) {
  return call('GET', '/api/v1/streams', options);
}

/**
 * @param {string} stream
 * @param {ApiOptions} [options]
 * @returns {Promise<StreamSummary>}
 */
export function getStream(stream, options) {
  return call('GET', `/api/v1/streams/${encodeURIComponent(stream)}`, options);
}

/**
 * Ends a stream; needs a token that may publish it.
 *
 * @param {string} stream
 * @param {ApiOptions} options
 * @returns {Promise<void>}
 */
export function endStream(stream, options) {
  return call('DELETE', `/api/v1/streams/${encodeURIComponent(stream)}`, options);
}

/** What a status means when the body does not say. @type {Record<number, string>} */
const CODES = {
  400: 'bad_message',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  413: 'too_large',
  429: 'rate_limited',
};

/**
 * @param {string} method
 * @param {string} path
 * @param {ApiOptions} [options]
 * @param {unknown} [body]
 * @returns {Promise<any>} the body of the answer; rejects with the `code` of its problem details
 */
export async function call(method, path, options = {}, body = undefined) {
  /** @type {Record<string, string>} */
  const headers = { Accept: 'application/json', ...options.headers };
  if (options.token) headers.Authorization = `Bearer ${options.token}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const url = new URL(path, options.url ?? globalThis.location?.href);
  let response;
  try {
    response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    throw new RedredError('disconnected', String(error), { retryable: true });
  }
  const text = await response.text();
  let parsed;
  try {
    parsed = text ? JSON.parse(text) : undefined;
  } catch {
    parsed = undefined;
  }
  if (response.ok) return parsed;
  const retryAfter = Number(response.headers.get('Retry-After'));
  throw new RedredError(
    parsed?.code ?? CODES[response.status] ?? 'unavailable',
    parsed?.detail ?? parsed?.title ?? `${method} ${path} was answered ${response.status}`,
    {
      retryable: response.status >= 500 || response.status === 429,
      retryAfterMs: parsed?.retry_after_ms ?? (retryAfter ? retryAfter * 1000 : undefined),
      reason: parsed?.reason,
    },
  );
}

/** What follows a path. @param {Record<string, string | number | boolean | undefined>} values */
export function query(values) {
  const known = Object.entries(values).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(known.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}
