// @ts-check
/** @file The messages of a room on the screen: days, what is new, scrolling, more on both ends. */

import { formatDay, t } from '../i18n.js';
import { avatar, h, icon } from '../ui/dom.js';
import { renderBubble, signatureOf } from './bubble.js';
import { typingText } from './names.js';

/** @typedef {import('../../sdk/redred.js').Room} Room */
/** @typedef {import('../../sdk/types.d.ts').RoomMessage} RoomMessage */
/** @typedef {import('../../sdk/types.d.ts').RoomState} RoomState */
/** @typedef {import('./bubble.js').Deeds} Deeds */

/** Messages of one person closer together than this stand as one block. */
const BLOCK_MS = 5 * 60_000;
/** Near an end of the list the next page is asked for. */
const NEAR_PX = 400;
/** Closer to the end than this, the reader wants to stay at the end. */
const END_PX = 60;
/** The original of a reply is looked for in this many older pages. */
const SEARCHED_PAGES = 20;
const FLASH_MS = 1600;

export class Thread {
  #room;
  #deeds;
  #scroller;
  #list;
  #typing;
  #jump;
  /** @type {Map<string, { element: HTMLElement, signature: string }>} */
  #rows = new Map();
  /** Whether the reader is at the end and wants to stay there. */
  #sticks = true;
  #lastTop = 0;
  /** Messages behind this position came while the reader was away. */
  #newAfter = Infinity;
  #isShown = false;
  #observer;
  #handleVisibility = () => this.#noticeVisibility();

  /**
   * @param {Room} room
   * @param {Omit<Deeds, 'showOriginal'>} deeds
   */
  constructor(room, deeds) {
    this.#room = room;
    this.#deeds = { ...deeds, showOriginal: (/** @type {string} */ id) => void this.#showOriginal(id) };
    this.#list = h('div', { class: 'messages', role: 'log', 'aria-live': 'polite', 'aria-label': t('inbox.messages') });
    this.#typing = h('div', { class: 'typing', hidden: true });
    this.#scroller = h(
      'div',
      { class: 'thread', id: 'thread', tabindex: '0', 'aria-label': t('inbox.messages'), role: 'region', onscroll: () => this.#handleScroll() },
      this.#list,
      this.#typing,
    );
    this.#jump = h(
      'button',
      { type: 'button', class: 'button jump', 'aria-label': t('inbox.to_newest'), hidden: true, onclick: () => void this.toNewest() },
      icon('chevron'),
      h('span', { class: 'badge-count' }),
    );
    this.element = h('div', { class: 'thread-frame' }, this.#scroller, this.#jump);
    // A keyboard that opens on a phone, or a field that grows: the end stays in sight.
    this.#observer = new ResizeObserver(() => {
      if (this.#sticks) this.#toEnd();
    });
    this.#observer.observe(this.#scroller);
    document.addEventListener('visibilitychange', this.#handleVisibility);
  }

  close() {
    this.#observer.disconnect();
    document.removeEventListener('visibilitychange', this.#handleVisibility);
  }

  // Showing.

  /** @param {RoomState} state */
  show(state) {
    if (!state.room) return;
    if (!this.#isShown && state.unread > 0) this.#newAfter = this.#room.me?.read_seq ?? 0;
    const anchor = this.#sticks ? null : this.#firstVisible();
    this.#reconcile(state);
    this.#showTyping(state);
    if (!this.#isShown) this.#begin();
    else if (this.#sticks) this.#toEnd();
    else if (anchor) this.#keepInPlace(anchor);
    this.#showJump(state);
    this.#markRead();
    // A list shorter than the window cannot be scrolled to its beginning.
    if (state.has_older && this.#scroller.scrollHeight <= this.#scroller.clientHeight) void this.#room.loadOlder().catch(() => {});
  }

  /** Where the reader left off, or the end. */
  #begin() {
    this.#isShown = true;
    const marker = this.#rows.get('new')?.element;
    if (marker) {
      this.#scroller.scrollTop = marker.offsetTop - this.#scroller.clientHeight / 3;
      this.#lastTop = this.#scroller.scrollTop;
      this.#sticks = this.#isAtEnd();
    } else {
      this.#toEnd();
    }
  }

  /** @param {RoomState} state */
  #reconcile(state) {
    const self = this.#room.self;
    const isGroup = state.room?.kind === 'group';
    this.#list.classList.toggle('grouped', isGroup);
    const byId = new Map(state.messages.map((message) => [message.id, message]));
    /** @type {Map<string, { element: HTMLElement, signature: string }>} */
    const rows = new Map();
    const keep = (/** @type {string} */ key, /** @type {string} */ signature, /** @type {() => HTMLElement} */ render) => {
      const known = this.#rows.get(key);
      rows.set(key, known?.signature === signature ? known : { element: render(), signature });
    };

    if (!state.has_older) keep('beginning', String(state.messages.length === 0), () => renderBeginning(state.messages.length === 0));
    let day = '';
    /** @type {RoomMessage | null} */
    let before = null;
    for (const message of state.messages) {
      const messageDay = new Date(message.created_at).toDateString();
      if (messageDay !== day) {
        const text = formatDay(message.created_at);
        keep(`day ${messageDay}`, text, () => h('div', { class: 'day' }, h('span', {}, text)));
        day = messageDay;
        before = null;
      }
      const isOwn = message.sender.id === self;
      if (!isOwn && message.seq > this.#newAfter && !rows.has('new')) {
        keep('new', '', () => h('div', { class: 'new', role: 'separator' }, h('span', {}, t('inbox.new_messages'))));
        before = null;
      }
      const isFirst = !before || before.sender.id !== message.sender.id || gap(before, message) > BLOCK_MS;
      const look = {
        isOwn,
        isFirst,
        author: isGroup && !isOwn && isFirst ? message.sender.name : null,
        tick: this.#room.tick(message),
        repliedTo: message.reply_to_id === null ? undefined : (byId.get(message.reply_to_id) ?? null),
      };
      // On its way and stored, a message of our own stays one row.
      const key = `message ${(isOwn && message.client_id) || message.id}`;
      keep(key, signatureOf(message, look), () => {
        const bubble = renderBubble(message, look, this.#deeds);
        if (isGroup && !isOwn && isFirst) bubble.prepend(avatar(message.sender.name, message.sender.id));
        return bubble;
      });
      before = message;
    }
    this.#place(rows);
  }

  /** @param {Map<string, { element: HTMLElement, signature: string }>} rows */
  #place(rows) {
    const wanted = new Set([...rows.values()].map(({ element }) => element));
    for (const { element } of this.#rows.values()) if (!wanted.has(element)) element.remove();
    let next = this.#list.firstElementChild;
    for (const { element } of rows.values()) {
      if (element === next) next = next.nextElementSibling;
      else this.#list.insertBefore(element, next);
    }
    this.#rows = rows;
  }

  /** @param {RoomState} state */
  #showTyping({ typing, has_newer }) {
    const text = has_newer ? '' : typingText(typing);
    this.#typing.hidden = text === '';
    if (this.#typing.dataset.text === text) return;
    this.#typing.dataset.text = text;
    this.#typing.replaceChildren(h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), h('span', {}, text));
  }

  /** @param {RoomState} state */
  #showJump({ unread, has_newer }) {
    this.#jump.hidden = this.#sticks && !has_newer;
    const count = /** @type {HTMLElement} */ (this.#jump.querySelector('.badge-count'));
    count.hidden = unread === 0;
    count.textContent = unread > 99 ? '99+' : String(unread);
  }

  // Reading.

  #markRead() {
    const { has_newer } = this.#room.state;
    if (this.#sticks && !has_newer && !document.hidden && this.#isShown) this.#room.markRead();
  }

  #noticeVisibility() {
    const newest = this.#room.state.messages.findLast(({ status }) => status === 'sent')?.seq ?? 0;
    if (document.hidden) {
      this.#newAfter = newest;
    } else {
      if (this.#newAfter >= newest) this.#newAfter = Infinity;
      this.#markRead();
    }
  }

  /** What was new is old once one has said something oneself. */
  forgetNew() {
    this.#newAfter = Infinity;
  }

  // Moving.

  async toNewest() {
    await this.#room.jumpToNewest().catch(() => {});
    this.#toEnd();
    this.show(this.#room.state);
  }

  /**
   * Shows a message and lets it shine for a moment.
   *
   * @param {{ id: string, seq: number }} message
   */
  async showMessage({ id, seq }) {
    this.#sticks = false;
    await this.#room.jumpTo(seq);
    this.#flash(id);
  }

  /** @param {string} id */
  async #showOriginal(id) {
    for (let page = 0; page < SEARCHED_PAGES && this.#room.state.has_older; page += 1) {
      if (this.#room.state.messages.some((message) => message.id === id)) break;
      this.#sticks = false;
      await this.#room.loadOlder(200).catch(() => {});
    }
    this.#flash(id);
  }

  /** @param {string} id */
  #flash(id) {
    const row = /** @type {HTMLElement | null} */ (this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`));
    if (!row) return;
    this.#sticks = false;
    row.scrollIntoView({ block: 'center' });
    row.classList.add('flash');
    setTimeout(() => row.classList.remove('flash'), FLASH_MS);
  }

  #firstVisible() {
    const { scrollTop } = this.#scroller;
    for (const [key, { element }] of this.#rows) {
      // The line that says where the list begins goes when a page comes before it.
      if (element.offsetTop + element.offsetHeight > scrollTop && element.dataset.id) return { key, top: element.offsetTop };
    }
    return null;
  }

  /** What came before or after must not move what is being read. @param {{ key: string, top: number }} anchor */
  #keepInPlace({ key, top }) {
    const element = this.#rows.get(key)?.element;
    if (!element) return;
    this.#scroller.scrollTop += element.offsetTop - top;
    this.#lastTop = this.#scroller.scrollTop;
  }

  #isAtEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < END_PX;
  }

  #toEnd() {
    this.#sticks = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#lastTop = this.#scroller.scrollTop;
  }

  #handleScroll() {
    // Only a reader who scrolls back leaves the end; a list that grows does not take anybody away from it.
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (this.#isAtEnd()) this.#sticks = true;
    else if (scrollTop < this.#lastTop) this.#sticks = false;
    this.#lastTop = scrollTop;
    const { has_older, has_newer } = this.#room.state;
    if (has_older && scrollTop < NEAR_PX) void this.#room.loadOlder().catch(() => {});
    if (has_newer && scrollHeight - scrollTop - clientHeight < NEAR_PX) void this.#room.loadNewer().catch(() => {});
    this.#showJump(this.#room.state);
    this.#markRead();
  }
}

/** @param {boolean} isEmpty */
function renderBeginning(isEmpty) {
  return h('p', { class: 'beginning' }, isEmpty ? t('inbox.say_hello') : t('inbox.beginning'));
}

/** @param {RoomMessage} a @param {RoomMessage} b */
function gap(a, b) {
  return new Date(b.created_at).getTime() - new Date(a.created_at).getTime();
}
