// @ts-check
/** @file Notifications in words: what happened, and where it leads. */

import { t } from './i18n.js';

/** @typedef {import('../sdk/types.d.ts').NotificationItem} NotificationItem */

/** Kinds with words of their own, in the order that the preferences show them. */
export const KINDS = [
  'like',
  'comment',
  'reply',
  'mention_post',
  'mention_comment',
  'follow',
  'follow_back',
  'message',
  'group_message',
  'stream_live',
];

/** @type {Record<string, { icon: string, look: string }>} */
const SIGNS = {
  like: { icon: 'heart', look: 'love' },
  comment: { icon: 'chat', look: 'talk' },
  reply: { icon: 'reply', look: 'talk' },
  mention_post: { icon: 'at', look: 'talk' },
  mention_comment: { icon: 'at', look: 'talk' },
  follow: { icon: 'user-plus', look: 'people' },
  follow_back: { icon: 'user-plus', look: 'people' },
  message: { icon: 'send', look: 'talk' },
  group_message: { icon: 'group', look: 'talk' },
  stream_live: { icon: 'broadcast', look: 'love' },
};

/** Kinds whose words leave out what the message says. */
const QUOTED = new Set(['comment', 'reply', 'mention_post', 'mention_comment', 'message', 'group_message', 'stream_live']);
/** Kinds where a count is of messages of one person, not of people. */
const COUNTS_MESSAGES = new Set(['message', 'group_message']);

/** @param {string} kind */
export function signOf(kind) {
  return SIGNS[kind] ?? { icon: 'bell', look: 'other' };
}

/**
 * "Ana and 12 others liked your post", in parts: the name stands out.
 *
 * @param {NotificationItem} item
 * @returns {{ before: string, name: string, after: string }}
 */
export function sentenceOf({ kind, actor, count, message, target }) {
  const name = actor?.name ?? '';
  if (!KINDS.includes(kind)) return { before: '', name, after: name ? ` ${message}` : message };
  const who = name || t('note.somebody');
  const many = COUNTS_MESSAGES.has(kind) ? count : count - 1;
  const group = typeof target?.title === 'string' ? target.title : t('note.a_group');
  const text = count > 1 ? t(`note.${kind}_many`, { name: '\u0000', n: many, group }) : t(`note.${kind}`, { name: '\u0000', group });
  const [before = '', after = ''] = text.split('\u0000');
  return { before, name: who, after };
}

/** The same in one string. @param {NotificationItem} item */
export function textOf(item) {
  const { before, name, after } = sentenceOf(item);
  return `${before}${name}${after}`;
}

/** What was said, when the sentence does not say it. @param {NotificationItem} item */
export function detailOf({ kind, message, actor }) {
  if (!QUOTED.has(kind)) return '';
  // Who it was stands in the sentence already.
  const name = actor?.name ?? '';
  for (const opening of [`${name} is live`, name]) {
    if (name && message === opening) return '';
    if (name && message.startsWith(`${opening}: `)) return message.slice(opening.length + 2);
  }
  return message;
}

/**
 * Where a click leads; null when nowhere. Only paths of this site: the target came from elsewhere.
 *
 * @param {NotificationItem} item
 */
export function linkOf({ target }) {
  const text = (/** @type {string} */ key) => (typeof target?.[key] === 'string' ? /** @type {string} */ (target[key]) : '');
  const room = text('room') || text('room_id');
  if (room) return `/inbox/${encodeURIComponent(room)}`;
  const stream = text('stream') || text('stream_id');
  if (stream) return `/watch/${encodeURIComponent(stream)}`;
  const path = text('path') || text('url');
  return /^\/(?![/\\])/.test(path) ? path : null;
}
