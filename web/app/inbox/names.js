// @ts-check
/** @file What rooms and people are called, and what a line about them says. */

import { formatAge, t } from '../i18n.js';
import { avatar, h, icon } from '../ui/dom.js';

/** @typedef {import('../../sdk/types.d.ts').Member} Member */
/** @typedef {import('../../sdk/types.d.ts').Message} Message */
/** @typedef {import('../../sdk/types.d.ts').RoomView} RoomView */

/** How many names stand for a group without a title. */
const NAMES_MAX = 3;

/**
 * The other one of a direct room.
 *
 * @param {Pick<RoomView, 'members'>} room
 * @param {string} self
 */
export function partnerOf({ members }, self) {
  return members.find(({ id }) => id !== self) ?? members[0];
}

/**
 * @param {RoomView} room
 * @param {string} self
 */
export function titleOf(room, self) {
  if (room.kind === 'direct') return partnerOf(room, self)?.name ?? t('inbox.nobody');
  if (room.title) return room.title;
  const names = room.members.filter(({ id }) => id !== self).map(({ name }) => name);
  const shown = names.slice(0, NAMES_MAX).join(', ');
  return shown ? shown + (names.length > NAMES_MAX ? '…' : '') : t('inbox.group');
}

/**
 * @param {RoomView} room
 * @param {string} self
 * @returns {HTMLElement}
 */
export function pictureOf(room, self) {
  if (room.kind === 'group') {
    const picture = avatar(room.title ?? '', room.id);
    picture.replaceChildren(icon('group'));
    return h('span', { class: 'face' }, picture);
  }
  const partner = partnerOf(room, self);
  const isOnline = partner?.status === 'online';
  return h(
    'span',
    { class: 'face' },
    avatar(partner?.name ?? '?', partner?.id ?? room.id),
    isOnline && h('span', { class: 'online' }, h('span', { class: 'visually-hidden' }, t('inbox.online'))),
  );
}

/** @param {Member | undefined} member */
export function presenceOf(member) {
  if (!member) return '';
  if (member.status === 'online') return t('inbox.online');
  return member.last_seen ? t('inbox.last_seen', { when: formatAge(member.last_seen) }) : t('inbox.offline');
}

/**
 * A message in one line.
 *
 * @param {Pick<Message, 'text' | 'deleted' | 'attachments'>} message
 */
export function gistOf({ text, deleted, attachments }) {
  if (deleted) return t('inbox.deleted');
  if (text) return text;
  return t('inbox.attachments', { n: attachments?.length ?? 0 });
}

/** @param {import('../../sdk/types.d.ts').User[]} typing */
export function typingText(typing) {
  const [first, second] = typing;
  if (!first) return '';
  if (!second) return t('inbox.typing_one', { name: first.name });
  return typing.length === 2
    ? t('inbox.typing_two', { name: first.name, other: second.name })
    : t('inbox.typing_many', { n: typing.length });
}
