// @ts-check
/** @file One message as it looks. */

import { formatTime, t } from '../i18n.js';
import { h, hueOf, icon } from '../ui/dom.js';
import { linkify, outward, parse } from './links.js';
import { gistOf } from './names.js';

/** @typedef {import('../../sdk/types.d.ts').Attachment} Attachment */
/** @typedef {import('../../sdk/types.d.ts').RoomMessage} RoomMessage */

/**
 * @typedef {object} Look
 * @property {boolean} isOwn
 * @property {string | null} author shown above, in groups
 * @property {boolean} isFirst of several of the same person
 * @property {'sending' | 'failed' | 'sent' | 'delivered' | 'read'} tick
 * @property {RoomMessage | null | undefined} repliedTo undefined: it replies to nothing; null: to something not loaded
 */

/**
 * @typedef {object} Deeds
 * @property {(message: RoomMessage, anchor: HTMLElement) => void} openMenu
 * @property {(id: string) => void} showOriginal
 */

/** @type {Record<string, string>} */
const TICKS = { sending: 'clock', failed: 'warning', sent: 'check', delivered: 'checks', read: 'checks' };

/** Whatever changes the look: two equal ones need not be drawn again. @param {RoomMessage} message @param {Look} look */
export function signatureOf(message, { isOwn, author, isFirst, tick, repliedTo }) {
  return JSON.stringify([
    ...[message.id, message.text, message.edited_at, message.deleted, message.status, message.created_at],
    ...[isOwn && tick, isFirst, author, message.attachments.length],
    repliedTo && [repliedTo.text, repliedTo.deleted, repliedTo.sender.name],
    repliedTo === null,
  ]);
}

/**
 * @param {RoomMessage} message
 * @param {Look} look
 * @param {Deeds} deeds
 * @returns {HTMLElement}
 */
export function renderBubble(message, look, deeds) {
  const { isOwn, author, isFirst, tick, repliedTo } = look;
  const { sender, text, deleted, attachments, created_at, edited_at } = message;
  const more = h(
    'button',
    {
      type: 'button',
      class: 'button quiet round bubble-menu',
      'aria-haspopup': 'menu',
      'aria-expanded': 'false',
      'aria-label': t('inbox.actions', { text: gistOf(message).slice(0, 60) }),
      onclick: () => deeds.openMenu(message, more),
    },
    icon('more'),
  );
  return h(
    'article',
    {
      class: `message ${isOwn ? 'own' : 'theirs'}${isFirst ? ' first' : ''}${deleted ? ' tombstone' : ''}`,
      'data-id': message.id,
      'data-seq': message.seq,
      'data-tick': isOwn && !deleted ? tick : null,
      'data-status': message.status,
      hue: hueOf(sender.id),
    },
    h(
      'div',
      { class: 'bubble' },
      h('span', { class: 'visually-hidden' }, `${isOwn ? t('inbox.you') : sender.name}: `),
      author && h('b', { class: 'author', 'aria-hidden': 'true' }, author),
      repliedTo !== undefined && !deleted && renderQuote(message, repliedTo, deeds),
      deleted ? h('p', { class: 'text' }, t('inbox.deleted')) : text && h('p', { class: 'text', dir: 'auto' }, ...linkify(text)),
      ...attachments.map(renderAttachment),
      h(
        'p',
        { class: 'meta' },
        edited_at && !deleted && h('span', {}, t('inbox.edited')),
        h('time', { datetime: created_at }, formatTime(created_at)),
        isOwn && !deleted && h('span', { class: `tick ${tick}`, title: t(`tick.${tick}`) }, icon(TICKS[tick] ?? 'check'), h('span', { class: 'visually-hidden' }, t(`tick.${tick}`))),
      ),
    ),
    !deleted && more,
  );
}

/**
 * @param {RoomMessage} message
 * @param {RoomMessage | null} original
 * @param {Deeds} deeds
 */
function renderQuote(message, original, deeds) {
  return h(
    'button',
    {
      type: 'button',
      class: 'quote',
      hue: original ? hueOf(original.sender.id) : null,
      onclick: () => deeds.showOriginal(message.reply_to_id ?? ''),
    },
    h('b', {}, original?.sender.name ?? t('inbox.original')),
    h('span', { dir: 'auto' }, original ? gistOf(original) : t('inbox.original_text')),
  );
}

/** @param {Attachment} attachment */
function renderAttachment({ url: address, type, size, name }) {
  const url = parse(address);
  if (!url) return null;
  const isImage = type.startsWith('image/');
  const label = name ?? (decodeURIComponent(url.pathname.split('/').at(-1) ?? '') || url.hostname);
  const about = [url.hostname, size > 0 ? formatSize(size) : ''].filter(Boolean).join(' · ');
  const card = outward(url, icon(isImage ? 'image' : 'file'), h('span', {}, h('b', { dir: 'auto' }, label), h('small', {}, about)));
  card.classList.add('attachment');
  // Pictures of other sites stay links: showing one would tell that site who reads this, and when.
  if (isImage && url.origin === location.origin) {
    card.prepend(h('img', { src: url.href, alt: label, loading: 'lazy' }));
    card.classList.add('picture');
  }
  return card;
}

/** @param {number} bytes */
function formatSize(bytes) {
  const [value, unit] = bytes >= 1e6 ? [bytes / 1e6, 'MB'] : [bytes / 1e3, 'kB'];
  return `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
}
