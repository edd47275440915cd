// @ts-check
/** @file The list of conversations, and what a search finds in them. */

import { tickOf } from '../../sdk/redred.js';
import { formatMoment, t } from '../i18n.js';
import { h, icon } from '../ui/dom.js';
import { describe } from './faults.js';
import { gistOf, pictureOf, titleOf } from './names.js';

/** @typedef {import('../../sdk/redred.js').Chat} Chat */
/** @typedef {import('../../sdk/types.d.ts').Message} Message */
/** @typedef {import('../../sdk/types.d.ts').RoomListing} RoomListing */

/** Long enough not to search at each key. */
const PAUSE_MS = 250;
const FOUND_PAGE = 20;
const NEAR_PX = 200;
/** How much of a message stands before the word that was found. */
const BEFORE_FOUND = 24;

/** @type {Record<string, string>} */
const TICKS = { sent: 'check', delivered: 'checks', read: 'checks' };

export class RoomList {
  #root;
  #chat;
  #field;
  #onOpen;
  #current = '';
  /** @type {Message[]} */
  #found = [];
  #hasMore = false;
  /** @type {string | null} */
  #fault = null;
  #isSearching = false;
  #turn = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {HTMLElement} root
   * @param {HTMLInputElement} field
   * @param {Chat} chat
   * @param {(room: string, message?: Message) => void} onOpen
   */
  constructor(root, field, chat, onOpen) {
    this.#root = root;
    this.#field = field;
    this.#chat = chat;
    this.#onOpen = onOpen;
    field.addEventListener('input', () => this.#handleInput());
    field.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || field.value === '') return;
      field.value = '';
      this.#handleInput();
    });
    root.addEventListener('scroll', () => this.#handleScroll());
    root.addEventListener('keydown', (event) => this.#handleKey(event));
    chat.inbox.on('state', () => this.show());
    this.show();
  }

  /** @param {string} room the one that is open; empty for none */
  select(room) {
    this.#current = room;
    this.show();
  }

  get #words() {
    return this.#field.value.trim();
  }

  get #self() {
    return this.#chat.connection.session?.user_id ?? '';
  }

  show() {
    const { rooms, loaded } = this.#chat.inbox.state;
    const root = this.#root;
    root.setAttribute('aria-busy', String(!loaded));
    if (!loaded) return root.replaceChildren(...[1, 2, 3, 4].map(renderSkeleton));
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.closest('[data-key]')?.getAttribute('data-key');
    const { scrollTop } = root;
    const words = this.#words.toLowerCase();
    const fitting = rooms.filter((room) => words === '' || this.#matches(room, words));
    const list = h('ul', { class: 'room-list' }, ...fitting.map((room) => this.#renderRoom(room)));
    if (words !== '') root.replaceChildren(list, ...this.#renderFound(fitting.length === 0));
    else if (rooms.length === 0) root.replaceChildren(renderEmpty());
    else root.replaceChildren(list);
    root.scrollTop = scrollTop;
    if (focused) /** @type {HTMLElement | null} */ (root.querySelector(`[data-key="${CSS.escape(focused)}"]`))?.focus();
  }

  /**
   * @param {RoomListing} room
   * @param {string} words
   */
  #matches(room, words) {
    const names = room.members.filter(({ id }) => id !== this.#self).map(({ name, id }) => `${name} ${id}`);
    return [room.title ?? '', ...names].join('\n').toLowerCase().includes(words);
  }

  /** @param {RoomListing} room */
  #renderRoom(room) {
    const self = this.#self;
    const { id, last_message: last, unread, updated_at, kind } = room;
    const isOwn = last?.sender.id === self;
    const tick = last && isOwn && !last.deleted ? tickOf(room, last) : null;
    const who = last && !isOwn && kind === 'group' ? `${last.sender.name}: ` : '';
    return h(
      'li',
      {},
      h(
        'a',
        {
          href: `/inbox/${encodeURIComponent(id)}`,
          class: `room${unread > 0 ? ' unread' : ''}`,
          'data-key': id,
          'data-room': id,
          'aria-current': id === this.#current ? 'true' : null,
          onclick: (/** @type {MouseEvent} */ event) => this.#follow(event, id),
        },
        pictureOf(room, self),
        h('b', { class: 'name', dir: 'auto' }, titleOf(room, self)),
        h('time', { datetime: last?.created_at ?? updated_at }, formatMoment(last?.created_at ?? updated_at)),
        h(
          'p',
          { class: 'gist' },
          tick && h('span', { class: `tick ${tick}` }, icon(TICKS[tick] ?? 'check'), h('span', { class: 'visually-hidden' }, t(`tick.${tick}`))),
          h('span', { dir: 'auto' }, last ? who + gistOf(last) : t('inbox.no_messages')),
        ),
        unread > 0 && h('span', { class: 'badge-count', 'aria-label': t('inbox.unread', { n: unread }), role: 'img' }, unread > 99 ? '99+' : String(unread)),
      ),
    );
  }

  // Searching.

  #handleInput() {
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#found = [];
    this.#hasMore = false;
    this.#fault = null;
    this.#isSearching = this.#words !== '';
    this.show();
    if (this.#isSearching) this.#timer = setTimeout(() => void this.#search(), PAUSE_MS);
  }

  async #search() {
    const turn = this.#turn;
    const last = this.#found.at(-1);
    try {
      const page = await this.#chat.search(this.#words, { limit: FOUND_PAGE, ...(last && { before: last.created_at }) });
      if (turn !== this.#turn) return;
      const known = new Set(this.#found.map(({ id }) => id));
      this.#found = [...this.#found, ...page.messages.filter(({ id }) => !known.has(id))];
      this.#hasMore = page.has_more;
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#fault = describe(error);
    }
    this.#isSearching = false;
    this.show();
  }

  /** @param {boolean} isAlone no room fits */
  #renderFound(isAlone) {
    const heading = h('h2', { class: 'found-head' }, t('inbox.messages'));
    if (this.#fault) return [h('p', { class: 'found-note', role: 'status' }, this.#fault)];
    if (this.#found.length === 0) {
      const text = this.#isSearching ? t('inbox.searching') : isAlone ? t('inbox.found_nothing') : t('inbox.found_no_messages');
      return [h('p', { class: 'found-note', role: 'status' }, text)];
    }
    const list = h('ul', { class: 'room-list found' }, ...this.#found.map((message) => this.#renderMessage(message)));
    const more = this.#hasMore && h('button', { type: 'button', class: 'button quiet found-more', onclick: () => void this.#search() }, t('bell.more'));
    return [heading, list, ...(more ? [more] : [])];
  }

  /** @param {Message} message */
  #renderMessage(message) {
    const room = this.#chat.inbox.state.rooms.find(({ id }) => id === message.room);
    const where = room ? titleOf(room, this.#self) : message.sender.name;
    return h(
      'li',
      {},
      h(
        'a',
        {
          href: `/inbox/${encodeURIComponent(message.room)}`,
          class: 'room hit',
          'data-key': message.id,
          'data-message': message.id,
          onclick: (/** @type {MouseEvent} */ event) => this.#follow(event, message.room, message),
        },
        h('b', { class: 'name', dir: 'auto' }, where),
        h('time', { datetime: message.created_at }, formatMoment(message.created_at)),
        h('p', { class: 'gist', dir: 'auto' }, `${message.sender.name}: `, ...highlight(message.text, this.#words)),
      ),
    );
  }

  /**
   * @param {MouseEvent} event
   * @param {string} room
   * @param {Message} [message]
   */
  #follow(event, room, message) {
    // With a key held a link opens elsewhere, as links do.
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    this.#onOpen(room, message);
  }

  /** @param {KeyboardEvent} event */
  #handleKey(event) {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    const links = /** @type {HTMLElement[]} */ ([...this.#root.querySelectorAll('a.room')]);
    const at = links.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    links[Math.max(0, Math.min(links.length - 1, at + (event.key === 'ArrowDown' ? 1 : -1)))]?.focus();
    event.preventDefault();
  }

  #handleScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#root;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    if (isNear && this.#words === '' && this.#chat.inbox.state.has_more) void this.#chat.inbox.loadMore().catch(() => {});
  }
}

/**
 * @param {string} text
 * @param {string} words
 */
function highlight(text, words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const plain = text.toLowerCase();
  const first = Math.min(...wanted.map((word) => plain.indexOf(word)).filter((at) => at >= 0), Infinity);
  const start = first === Infinity || first < BEFORE_FOUND ? 0 : first - BEFORE_FOUND;
  const shown = (start > 0 ? '…' : '') + text.slice(start);
  const parts = [];
  let end = 0;
  for (const found of shown.matchAll(new RegExp(wanted.map(escape).join('|'), 'gi'))) {
    parts.push(shown.slice(end, found.index), h('mark', {}, found[0]));
    end = found.index + found[0].length;
  }
  return [...parts, shown.slice(end)];
}

/** @param {string} word */
function escape(word) {
  return word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

function renderSkeleton() {
  return h('div', { class: 'room waiting' }, h('div', { class: 'skeleton avatar' }), h('div', { class: 'skeleton line' }), h('div', { class: 'skeleton line short' }));
}

function renderEmpty() {
  return h('div', { class: 'rooms-empty' }, icon('chat'), h('b', {}, t('inbox.empty')), h('p', {}, t('inbox.empty_text')));
}
