// @ts-check
/** @file The words of the app, in the language of the browser. */

import { en } from './i18n/en.js';
import { es } from './i18n/es.js';

/** @typedef {string | { one: string, other: string }} Text */

/** @type {Record<string, Record<string, Text>>} */
const LANGUAGES = { en, es };

/** The first of the browser's languages that we speak. */
export const language = choose(globalThis.navigator?.languages ?? []);

/** The same with its country, for numbers and times: in London the clock has 24 hours. */
const locale = (globalThis.navigator?.languages ?? []).find((tag) => tag.toLowerCase().split('-')[0] === language) ?? language;

const texts = LANGUAGES[language] ?? en;
const plural = new Intl.PluralRules(language);
const compact = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 });

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
  return new Intl.NumberFormat(locale, { style: 'unit', unit, maximumFractionDigits: 0 }).format(value);
}

/** @param {number} bps 2500000 becomes 2.5 Mbit/s */
export function formatBitrate(bps) {
  const [value, unit] = bps >= 1e6 ? [bps / 1e6, 'Mbit/s'] : [bps / 1e3, 'kbit/s'];
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: bps >= 1e6 ? 1 : 0 }).format(value);
  return `${number} ${unit}`;
}

/** @param {string} iso */
export function formatTime(iso) {
  return new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' }).format(new Date(iso));
}

const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'short' });

/** How long ago, in words: "now", "5 min ago", then the day. @param {string} iso */
export function formatAge(iso) {
  const seconds = Math.max(0, (Date.now() - new Date(iso).getTime()) / 1000);
  if (seconds < 45) return relative.format(0, 'second');
  if (seconds < 3600) return relative.format(-Math.max(1, Math.round(seconds / 60)), 'minute');
  if (seconds < 86_400) return relative.format(-Math.round(seconds / 3600), 'hour');
  if (seconds < 6 * 86_400) return relative.format(-Math.round(seconds / 86_400), 'day');
  return formatDate(iso);
}

/** @param {string | Date} iso */
function formatDate(iso) {
  const date = new Date(iso);
  const isThisYear = date.getFullYear() === new Date().getFullYear();
  return new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'long', ...(!isThisYear && { year: 'numeric' }) }).format(date);
}

/** How many midnights ago. @param {string} iso */
function daysAgo(iso) {
  const midnight = (/** @type {Date} */ date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((midnight(new Date()) - midnight(new Date(iso))) / 86_400_000);
}

/** "Today", "yesterday", a weekday, then the date: for lines between days. @param {string} iso */
export function formatDay(iso) {
  const days = daysAgo(iso);
  if (days < 2) {
    const day = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' }).format(-days, 'day');
    return day.charAt(0).toLocaleUpperCase(locale) + day.slice(1);
  }
  if (days < 7) return new Intl.DateTimeFormat(locale, { weekday: 'long' }).format(new Date(iso));
  return formatDate(iso);
}

/** The shortest that still tells: the time, the weekday, or the date. @param {string} iso */
export function formatMoment(iso) {
  const days = daysAgo(iso);
  if (days < 1) return formatTime(iso);
  const parts = days < 7 ? { weekday: /** @type {const} */ ('short') } : { day: /** @type {const} */ ('numeric'), month: /** @type {const} */ ('short') };
  return new Intl.DateTimeFormat(locale, parts).format(new Date(iso));
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
