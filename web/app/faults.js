// @ts-check
/** @file What went wrong, in words for people. */

import { CloseCode } from '../sdk/redred.js';
import { formatSpan, t } from './i18n.js';

/** @typedef {import('../sdk/redred.js').RedredError} RedredError */

/** Reasons that say more than the code they come with. */
const BY_REASON = new Set(['slow_mode', 'timeout', 'banned', 'kicked', 'blocked']);

const BY_CODE = new Set([
  'conflict',
  'forbidden',
  'not_found',
  'too_large',
  'rate_limited',
  'unauthorized',
  'timeout',
  'disconnected',
  'media_failed',
  'not_supported',
  'unsupported',
  'unavailable',
  'invalid_field',
  'no_camera',
  'no_microphone',
  'no_screen',
  'camera_denied',
  'microphone_denied',
  'screen_dismissed',
  'device_busy',
  'insecure_context',
]);

/** @type {Record<number, string>} */
const BY_CLOSE_CODE = {
  [CloseCode.NOT_AUTHORISED]: 'unauthorized',
  [CloseCode.REMOVED]: 'kicked',
  [CloseCode.REPLACED]: 'replaced',
  [CloseCode.ABUSE]: 'abuse',
};

/**
 * @param {unknown} error
 * @returns {string}
 */
export function describe(error) {
  const { code, reason, retryAfterMs, closeCode } = /** @type {Partial<RedredError>} */ (error ?? {});
  const wait = formatSpan(Math.ceil((retryAfterMs ?? 0) / 1000));
  if (reason && BY_REASON.has(reason)) return t(`fault.${reason}`, { wait });
  if (closeCode && BY_CLOSE_CODE[closeCode]) return t(`fault.${BY_CLOSE_CODE[closeCode]}`);
  if (code && BY_CODE.has(code)) return t(code === 'timeout' ? 'fault.no_reply' : `fault.${code}`, { wait });
  return t('fault.unknown');
}
