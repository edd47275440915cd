// @ts-check
/** @file The words of the app, in the language of the browser. */

import { en } from './i18n/en.js';
import { es } from './i18n/es.js';

/** @typedef {string | { one: string, other: string }} Text */

/** @type {Record<string, Record<string, Text>>} */
const LANGUAGES = { en, es };

/** The first of the browser's languages that we speak. */
export const language = choose(globalThis.navigator?.languages ?? []);

const texts = LANGUAGES[language] ?? en;
const plural = new Intl.PluralRules(language);
const compact = new Intl.NumberFormat(language, { notation: 'compact', maximumFractionDigits: 1 });

/** @param {readonly string[]} wanted */
export function choose(wanted) {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split('-')[0] ?? '';
    if (primary in LANGUAGES) return primary;
  }
  return 'en';
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values] put in place of `{name}`; `n` also chooses singular or plural
 */
export function t(key, values = {}) {
  const text = texts[key];
  if (text === undefined) throw new Error(`no text for ${key}`);
  const form = typeof text === 'string' ? text : plural.select(Number(values.n)) === 'one' ? text.one : text.other;
  return form.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === 'number' ? formatNumber(value) : (value ?? whole);
  });
}

/** @param {number} value 1234 becomes 1.2K */
export function formatNumber(value) {
  return compact.format(value);
}

/** @param {number} ms 3723000 becomes 1:02:03 */
export function formatClock(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const pad = (/** @type {number} */ value) => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${pad(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(seconds % 60)}`;
}

/** @param {number} seconds 600 becomes 10 min */
export function formatSpan(seconds) {
  const [value, unit] =
    seconds < 60 ? [seconds, 'second'] : seconds < 3600 ? [seconds / 60, 'minute'] : [seconds / 3600, 'hour'];
  return new Intl.NumberFormat(language, { style: 'unit', unit, maximumFractionDigits: 0 }).format(value);
}

/** @param {number} bps 2500000 becomes 2.5 Mbit/s */
export function formatBitrate(bps) {
  const [value, unit] = bps >= 1e6 ? [bps / 1e6, 'Mbit/s'] : [bps / 1e3, 'kbit/s'];
  const number = new Intl.NumberFormat(language, { maximumFractionDigits: bps >= 1e6 ? 1 : 0 }).format(value);
  return `${number} ${unit}`;
}

/** @param {string} iso */
export function formatTime(iso) {
  return new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' }).format(new Date(iso));
}

/**
 * Puts the words into a page: `data-i18n` names the text of an element, `data-i18n-label`, `data-i18n-placeholder` and
 * `data-i18n-title` those of its attributes.
 *
 * @param {ParentNode} [root]
 */
export function translatePage(root = document) {
  document.documentElement.lang = language;
  const all = (/** @type {string} */ attribute) =>
    /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll(`[${attribute}]`));
  for (const element of all('data-i18n')) element.textContent = t(element.getAttribute('data-i18n') ?? '');
  for (const [attribute, target] of [
    ['data-i18n-label', 'aria-label'],
    ['data-i18n-placeholder', 'placeholder'],
    ['data-i18n-title', 'title'],
  ]) {
    if (!attribute || !target) continue;
    for (const element of all(attribute)) element.setAttribute(target, t(element.getAttribute(attribute) ?? ''));
  }
}
