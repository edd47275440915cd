// @ts-check
/** @file Choosing people by their ids, with those one knows at hand. */

import { t } from '../i18n.js';
import { avatar, h, icon } from '../ui/dom.js';

/** @typedef {import('../../sdk/redred.js').Chat} Chat */
/** @typedef {import('../../sdk/types.d.ts').User} User */

const ID = /^[\w.-]{1,64}$/;
const SUGGESTED_MAX = 30;

/**
 * Everybody one shares a room with.
 *
 * @param {Chat} chat
 * @param {Set<string>} without
 * @returns {User[]}
 */
export function knownPeople(chat, without) {
  const people = new Map();
  for (const { members } of chat.inbox.state.rooms) {
    for (const { id, name } of members) if (!without.has(id)) people.set(id, { id, name });
  }
  return [...people.values()];
}

/** A field for one or several ids, and buttons for people who are known. */
export class PeopleField {
  #input;
  #chips;
  #suggestions;
  #isMany;
  #known;
  /** @type {User[]} */
  #chosen = [];

  /**
   * @param {object} options
   * @param {User[]} options.known
   * @param {boolean} options.isMany
   * @param {string} options.label
   */
  constructor({ known, isMany, label }) {
    this.#known = known;
    this.#isMany = isMany;
    this.#input = /** @type {HTMLInputElement} */ (
      h('input', {
        class: 'input',
        id: 'people',
        maxlength: 64,
        autocomplete: 'off',
        spellcheck: 'false',
        autocapitalize: 'none',
        'aria-describedby': 'people-hint',
        oninput: () => this.#suggest(),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#handleKey(event),
      })
    );
    this.#chips = h('div', { class: 'chips', hidden: true });
    this.#suggestions = h('div', { class: 'people', role: 'group', 'aria-label': t('people.known') });
    this.element = h(
      'div',
      { class: 'field' },
      h('label', { for: 'people' }, label),
      this.#chips,
      this.#input,
      h('p', { class: 'hint', id: 'people-hint' }, t(isMany ? 'people.hint_many' : 'people.hint')),
      this.#suggestions,
    );
    this.#suggest();
  }

  /** Ids that were chosen, and one that still stands in the field. @returns {string[] | null} null when that is no id */
  read() {
    if (this.#input.value.trim() !== '' && !this.#take(this.#input.value)) return null;
    return this.#chosen.map(({ id }) => id);
  }

  /** @param {KeyboardEvent} event */
  #handleKey(event) {
    const text = this.#input.value;
    if (this.#isMany && text.trim() !== '' && ['Enter', ',', ' '].includes(event.key)) {
      event.preventDefault();
      this.#take(text);
    }
    if (event.key === 'Backspace' && text === '' && this.#chosen.length > 0) this.#drop(this.#chosen.at(-1)?.id ?? '');
  }

  /** @param {string} text @returns {boolean} whether it is an id, or the name of somebody known */
  #take(text) {
    const word = text.trim().replace(/^@/, '');
    const named = this.#known.filter(({ name }) => name.toLowerCase() === word.toLowerCase());
    const person = this.#known.find(({ id }) => id === word) ?? (named.length === 1 ? named[0] : undefined);
    if (!person && !ID.test(word)) return false;
    this.#choose(person ?? { id: word, name: word });
    return true;
  }

  /** @param {User} person */
  #choose(person) {
    this.#input.value = '';
    this.#chosen = this.#isMany ? [...this.#chosen.filter(({ id }) => id !== person.id), person] : [person];
    this.#show();
    this.#input.focus();
  }

  /** @param {string} gone */
  #drop(gone) {
    this.#chosen = this.#chosen.filter(({ id }) => id !== gone);
    this.#show();
    this.#input.focus();
  }

  #show() {
    this.#chips.hidden = this.#chosen.length === 0;
    this.#chips.replaceChildren(
      ...this.#chosen.map(({ id, name }) =>
        h(
          'span',
          { class: 'chip', 'data-user': id },
          h('span', {}, name),
          h('button', { type: 'button', 'aria-label': t('people.remove', { name }), onclick: () => this.#drop(id) }, icon('close')),
        ),
      ),
    );
    this.#suggest();
  }

  #suggest() {
    const words = this.#input.value.trim().toLowerCase();
    const taken = new Set(this.#chosen.map(({ id }) => id));
    const fitting = this.#known.filter(({ id, name }) => !taken.has(id) && `${name} ${id}`.toLowerCase().includes(words));
    this.#suggestions.hidden = fitting.length === 0;
    this.#suggestions.replaceChildren(
      ...fitting
        .slice(0, SUGGESTED_MAX)
        .map((person) =>
          h('button', { type: 'button', class: 'person', 'data-user': person.id, onclick: () => this.#choose(person) }, avatar(person.name, person.id), h('span', {}, person.name)),
        ),
    );
  }
}
