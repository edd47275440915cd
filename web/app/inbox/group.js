// @ts-check
/** @file A group: its name, who is in it, and what they may do. */

import { t } from '../i18n.js';
import { ask, openSheet } from '../ui/dialog.js';
import { avatar, h, icon } from '../ui/dom.js';
import { openMenu } from '../ui/menu.js';
import { toast } from '../ui/toast.js';
import { describe } from './faults.js';
import { presenceOf } from './names.js';
import { knownPeople, PeopleField } from './people.js';

/** @typedef {import('../../sdk/redred.js').Chat} Chat */
/** @typedef {import('../../sdk/redred.js').Room} Room */
/** @typedef {import('../../sdk/types.d.ts').Member} Member */
/** @typedef {import('../../sdk/types.d.ts').MemberRole} MemberRole */
/** @typedef {import('../ui/menu.js').Entry} Entry */

/** @type {MemberRole[]} */
const ROLES = ['member', 'admin', 'owner'];
const RANK = { member: 0, admin: 1, owner: 2 };

/**
 * @param {Room} room
 * @param {Chat} chat
 */
export function openGroup(room, chat) {
  const name = h('p', { class: 'group-name', dir: 'auto' });
  const rename = h('button', { type: 'button', class: 'button quiet round', id: 'group-rename', 'aria-label': t('group.rename'), onclick: () => void askTitle(room) }, icon('edit'));
  const count = h('h3', { class: 'label' });
  const list = h('ul', { class: 'members' });
  const add = h('button', { type: 'button', class: 'button', id: 'group-add', onclick: () => askMembers(room, chat) }, icon('user-plus'), h('span', {}, t('group.add')));

  const show = () => {
    const view = room.state.room;
    if (!view) return;
    const mayManage = RANK[room.me?.role ?? 'member'] >= RANK.admin;
    name.textContent = view.title ?? '';
    rename.hidden = add.hidden = !mayManage;
    count.textContent = t('group.members', { n: view.members.length });
    const sorted = [...view.members].sort((a, b) => RANK[b.role] - RANK[a.role] || a.name.localeCompare(b.name));
    list.replaceChildren(...sorted.map((member) => renderMember(room, member)));
  };
  const off = room.on('state', show);
  show();
  void openSheet({
    title: t('group.title'),
    content: [h('div', { class: 'group-head' }, name, rename), h('div', { class: 'group-head' }, count, add), list],
  }).closed.then(off);
}

/**
 * @param {Room} room
 * @param {Member} member
 */
function renderMember(room, member) {
  const { id, name, role, status } = member;
  const isMe = id === room.self;
  const entries = isMe ? [] : deedsFor(room, member);
  const more = h(
    'button',
    { type: 'button', class: 'button quiet round', 'aria-haspopup': 'menu', 'aria-expanded': 'false', 'aria-label': t('group.actions', { name }), onclick: () => openMenu(more, t('group.actions', { name }), entries, more.closest('dialog') ?? document.body) },
    icon('more'),
  );
  return h(
    'li',
    { 'data-user': id, 'data-role': role },
    h('span', { class: 'face' }, avatar(name, id), status === 'online' && h('span', { class: 'online' })),
    h('div', {}, h('b', {}, name, isMe && h('span', { class: 'hint' }, ` (${t('inbox.you')})`)), h('p', { class: 'hint' }, presenceOf(member))),
    role !== 'member' && h('span', { class: `pill role-${role}` }, t(`member.${role}`)),
    entries.length > 0 && more,
  );
}

/**
 * What we may do about a member: admins remove members, the owner also gives roles.
 *
 * @param {Room} room
 * @param {Member} member
 * @returns {Entry[]}
 */
function deedsFor(room, { id, name, role }) {
  const ours = room.me?.role ?? 'member';
  /** @type {Entry[]} */
  const entries = [];
  if (ours === 'owner') {
    entries.push({ heading: t('group.role_of', { name }) });
    for (const next of ROLES) {
      entries.push({ label: t(`member.${next}`), icon: next === 'member' ? 'user' : next === 'admin' ? 'shield' : 'star', checked: role === next, select: () => void run(room.setRole(id, next)) });
    }
  }
  if (RANK[ours] >= RANK.admin && RANK[ours] > RANK[role]) {
    entries.push({ label: t('group.remove', { name }), icon: 'exit', danger: true, select: () => void run(room.removeMember(id)) });
  }
  return entries;
}

/** @param {Room} room */
async function askTitle(room) {
  const title = await ask({
    title: t('group.rename'),
    label: t('group.name'),
    value: room.state.room?.title ?? '',
    maxLength: 100,
    accept: t('identity.name_accept'),
    fault: (value) => (value === '' ? t('group.name_fault') : null),
  });
  if (title !== null && title !== room.state.room?.title) await run(room.rename(title));
}

/**
 * @param {Room} room
 * @param {Chat} chat
 */
function askMembers(room, chat) {
  const members = new Set(room.state.room?.members.map(({ id }) => id));
  const people = new PeopleField({ known: knownPeople(chat, members), isMany: true, label: t('people.label_many') });
  openSheet({
    title: t('group.add'),
    content: [people.element],
    accept: t('group.add_accept'),
    submit: async () => {
      const ids = people.read();
      if (ids === null) return t('people.fault');
      if (ids.length === 0) return t('people.none');
      try {
        await room.addMembers(ids);
      } catch (error) {
        return describe(error);
      }
      return null;
    },
  });
}

/** @param {Promise<unknown>} request */
async function run(request) {
  try {
    await request;
  } catch (error) {
    toast(describe(error));
  }
}
