// @ts-check
/** @file Beginning a conversation: with one person, or a group. */

import { t } from '../i18n.js';
import { ownId } from '../identity.js';
import { openSheet } from '../ui/dialog.js';
import { h, icon } from '../ui/dom.js';
import { toast } from '../ui/toast.js';
import { describe } from './faults.js';
import { knownPeople, PeopleField } from './people.js';

/** @typedef {import('../../sdk/redred.js').Chat} Chat */

/**
 * @param {Chat} chat
 * @param {(room: string) => void} onReady
 */
export function openNewChat(chat, onReady) {
  const self = ownId();
  const known = knownPeople(chat, new Set([self]));
  let isGroup = false;
  let people = new PeopleField({ known, isMany: false, label: t('people.label') });
  const title = /** @type {HTMLInputElement} */ (h('input', { class: 'input', id: 'group-title', maxlength: 100, autocomplete: 'off' }));
  const titleField = h('div', { class: 'field', hidden: true }, h('label', { for: 'group-title' }, t('group.name')), title);
  const peopleSlot = h('div', {}, people.element);
  const invite = h(
    'div',
    { class: 'invite' },
    h('p', {}, t('identity.your_id', { id: self })),
    h('button', { type: 'button', class: 'button', onclick: () => void copyInvite() }, icon('link'), h('span', {}, t('inbox.copy_invite'))),
  );
  const choose = (/** @type {boolean} */ group) => {
    isGroup = group;
    people = new PeopleField({ known, isMany: group, label: t(group ? 'people.label_many' : 'people.label') });
    peopleSlot.replaceChildren(people.element);
    titleField.hidden = !group;
    invite.hidden = group;
    for (const [button, is] of /** @type {const} */ ([[one, !group], [many, group]])) button.setAttribute('aria-pressed', String(is));
  };
  const one = h('button', { type: 'button', id: 'kind-direct', 'aria-pressed': 'true', onclick: () => choose(false) }, icon('user'), t('inbox.with_one'));
  const many = h('button', { type: 'button', id: 'kind-group', 'aria-pressed': 'false', onclick: () => choose(true) }, icon('group'), t('inbox.with_many'));

  openSheet({
    title: t('inbox.new'),
    content: [h('div', { class: 'segments', role: 'group', 'aria-label': t('inbox.new') }, one, many), titleField, peopleSlot, invite],
    accept: t('inbox.start'),
    submit: async () => {
      const ids = people.read();
      if (ids === null) return t('people.fault');
      if (ids.length === 0) return t('people.none');
      if (!isGroup && ids[0] === self) return t('people.self');
      if (isGroup && title.value.trim() === '') return t('group.name_fault');
      try {
        const room = isGroup
          ? await chat.createRoom({ kind: 'group', members: ids, title: title.value.trim() })
          : await chat.createRoom({ kind: 'direct', members: ids });
        onReady(room.id);
      } catch (error) {
        return describe(error);
      }
      return null;
    },
  });
}

/** An address that begins a conversation with us. */
async function copyInvite() {
  const url = new URL(`/inbox?to=${encodeURIComponent(ownId())}`, location.href).href;
  try {
    await navigator.clipboard.writeText(url);
    toast(t('share_done'));
  } catch {
    toast(url);
  }
}
