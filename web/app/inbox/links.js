// @ts-check
/** @file Addresses in a text, made clickable without letting the text become anything else. */

import { h } from '../ui/dom.js';

const ADDRESS = /https?:\/\/[^\s<>"'`{}|\\^]+/gi;
/** What ends a sentence and not an address. */
const TAIL = /[.,;:!?…]+$/;

/**
 * @param {string} text
 * @returns {(string | HTMLElement)[]}
 */
export function linkify(text) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(ADDRESS)) {
    const address = trim(found[0]);
    const url = parse(address);
    if (!url) continue;
    if (found.index > end) parts.push(text.slice(end, found.index));
    parts.push(outward(url, address));
    end = found.index + address.length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

/**
 * A link to elsewhere, which learns nothing of where it was clicked.
 *
 * @param {URL} url
 * @param {...import('../ui/dom.js').Child} children
 */
export function outward(url, ...children) {
  return h('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer nofollow' }, ...children);
}

/** @param {string} address @returns {URL | null} null when it is no address of the web */
export function parse(address) {
  try {
    const url = new URL(address);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url : null;
  } catch {
    return null;
  }
}

/** A bracket that closes one before the address does not belong to it. @param {string} address */
function trim(address) {
  let kept = address.replace(TAIL, '');
  const count = (/** @type {string} */ sign) => kept.split(sign).length - 1;
  while (kept.endsWith(')') && count(')') > count('(')) kept = kept.slice(0, -1).replace(TAIL, '');
  return kept;
}
