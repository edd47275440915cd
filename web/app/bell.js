// @ts-check
/** @file The bell: how many notifications are unread, and the list of them, as they come. */

import { describe } from './faults.js';
import { formatAge, t } from './i18n.js';
import { detailOf, linkOf, sentenceOf, signOf, textOf } from './notes.js';
import { askPreferences } from './preferences.js';
import { avatar, byId, h, icon } from './ui/dom.js';
import { toast } from './ui/toast.js';

/** @typedef {import('../sdk/redred.js').Notifications} Notifications */
/** @typedef {import('../sdk/types.d.ts').NotificationItem} NotificationItem */

/** Near the end of the list the next page is asked for. */
const NEAR_PX = 200;

export class Bell {
  #button;
  /** @type {Notifications | null} */
  #notifications = null;
  /** @type {HTMLElement | null} */
  #panel = null;
  /** @type {HTMLElement | null} */
  #list = null;
  /** @type {HTMLElement | null} */
  #readAll = null;
  #isLoading = false;
  #close = () => this.close();

  /** @param {HTMLElement} button */
  constructor(button) {
    this.#button = button;
    button.addEventListener('click', () => (this.#panel ? this.close() : this.open()));
  }

  /** @param {Notifications} notifications */
  attach(notifications) {
    this.close();
    this.#notifications = notifications;
    notifications.on('state', ({ unread }) => {
      if (notifications !== this.#notifications) return;
      showCount(this.#button, byId('bell-count'), 'bell.title', unread);
      this.#show();
    });
    notifications.on('notification', (item) => {
      if (notifications === this.#notifications) this.#announce(item);
    });
  }

  open() {
    const notifications = this.#notifications;
    if (!notifications || this.#panel) return;
    this.#readAll = h(
      'button',
      { type: 'button', class: 'button quiet', id: 'bell-read-all', onclick: () => void this.#run(notifications.markAllRead()) },
      t('bell.read_all'),
    );
    const settings = h(
      'button',
      {
        type: 'button',
        class: 'button quiet round',
        id: 'bell-settings',
        'aria-label': t('bell.settings'),
        title: t('bell.settings'),
        onclick: () => {
          this.close();
          void askPreferences(notifications);
        },
      },
      icon('gear'),
    );
    this.#list = h('div', { class: 'bell-list', id: 'bell-list', tabindex: '-1', onscroll: () => this.#handleScroll() });
    this.#panel = h(
      'section',
      { class: 'bell-panel', id: 'bell-panel', role: 'dialog', 'aria-label': t('bell.title') },
      h('header', { class: 'bell-head' }, h('h2', {}, t('bell.title')), this.#readAll, settings),
      this.#list,
    );
    this.#panel.addEventListener('keydown', (event) => this.#handleKey(event));
    document.body.append(this.#panel);
    this.#place();
    this.#button.setAttribute('aria-expanded', 'true');
    document.addEventListener('pointerdown', this.#handleOutside, true);
    window.addEventListener('resize', this.#close);
    this.#show();
    this.#list.focus();
    this.#load(notifications.load());
  }

  close() {
    if (!this.#panel) return;
    const hadFocus = this.#panel.contains(document.activeElement);
    this.#panel.remove();
    this.#panel = this.#list = this.#readAll = null;
    this.#button.setAttribute('aria-expanded', 'false');
    if (hadFocus) this.#button.focus();
    document.removeEventListener('pointerdown', this.#handleOutside, true);
    window.removeEventListener('resize', this.#close);
  }

  #handleOutside = (/** @type {Event} */ event) => {
    const target = /** @type {Node} */ (event.target);
    if (!this.#panel?.contains(target) && !this.#button.contains(target)) this.close();
  };

  /** @param {KeyboardEvent} event */
  #handleKey(event) {
    if (event.key === 'Escape') return this.close();
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    const notes = /** @type {HTMLElement[]} */ ([...(this.#list?.querySelectorAll('.note') ?? [])]);
    const at = notes.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    notes[Math.max(0, Math.min(notes.length - 1, at + (event.key === 'ArrowDown' ? 1 : -1)))]?.focus();
    event.preventDefault();
  }

  #place() {
    if (!this.#panel) return;
    const at = this.#button.getBoundingClientRect();
    const width = this.#panel.offsetWidth;
    this.#panel.style.top = `${at.bottom + 6}px`;
    this.#panel.style.left = `${Math.max(8, Math.min(at.right - width + 40, window.innerWidth - width - 8))}px`;
  }

  // Showing.

  #show() {
    const list = this.#list;
    const notifications = this.#notifications;
    if (!list || !notifications) return;
    const { items, loaded, has_more, unread } = notifications.state;
    if (this.#readAll) this.#readAll.hidden = unread === 0;
    const focused = document.activeElement?.closest('.note')?.getAttribute('data-id');
    const { scrollTop } = list;
    if (items.length > 0) list.replaceChildren(...items.map((item) => this.#render(item)));
    else if (loaded) list.replaceChildren(h('div', { class: 'bell-empty' }, icon('bell'), h('b', {}, t('bell.empty')), h('p', {}, t('bell.empty_text'))));
    else list.replaceChildren(...[1, 2, 3].map(() => h('div', { class: 'note' }, h('div', { class: 'skeleton avatar' }), h('div', { class: 'skeleton line' }))));
    if (loaded && has_more) {
      list.append(
        h('button', { type: 'button', class: 'button quiet bell-more', onclick: () => this.#load(notifications.loadMore()) }, t('bell.more')),
      );
    }
    list.scrollTop = scrollTop;
    if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-id="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {NotificationItem} item */
  #render(item) {
    const { id, actor, kind, created_at, read } = item;
    const { before, name, after } = sentenceOf(item);
    const sign = signOf(kind);
    const detail = detailOf(item);
    return h(
      'button',
      { type: 'button', class: `note ${read ? 'read' : 'unread'}`, 'data-id': id, 'data-kind': kind, onclick: () => this.#follow(item) },
      h(
        'span',
        { class: 'face' },
        actor ? avatar(actor.name, actor.id) : h('span', { class: 'avatar', 'aria-hidden': 'true' }, icon(sign.icon)),
        actor && h('span', { class: `sign ${sign.look}` }, icon(sign.icon)),
      ),
      h(
        'span',
        {},
        h('p', { class: 'what' }, before, h('b', {}, name), after),
        detail && h('p', { class: 'detail', dir: 'auto' }, detail),
        h('time', { datetime: created_at }, formatAge(created_at)),
      ),
      read ? h('span', {}) : h('span', { class: 'dot' }, h('span', { class: 'visually-hidden' }, t('bell.unread'))),
    );
  }

  #handleScroll() {
    const list = this.#list;
    if (list && list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_PX && this.#notifications?.state.has_more) {
      this.#load(this.#notifications.loadMore());
    }
  }

  /** @param {Promise<void>} loading */
  #load(loading) {
    if (this.#isLoading) return;
    this.#isLoading = true;
    void this.#run(loading).finally(() => {
      this.#isLoading = false;
    });
  }

  // Doing.

  /** @param {NotificationItem} item */
  #follow(item) {
    const read = this.#notifications?.markRead(item.id);
    if (read) void this.#run(read);
    const link = linkOf(item);
    if (link === null) return;
    this.close();
    if (!this.#button.dispatchEvent(new CustomEvent('follow', { bubbles: true, cancelable: true, detail: link }))) return;
    // The page goes away: what was read must be told before.
    void read?.catch(() => {}).then(() => location.assign(link));
  }

  /** What matters at once is said aloud, unless the list is open or the place it leads to is. @param {NotificationItem} item */
  #announce(item) {
    const link = linkOf(item);
    if (item.priority !== 'high' || this.#panel || link === location.pathname) return;
    toast(textOf(item), link === null ? undefined : { label: t('bell.open'), run: () => this.#follow(item) });
  }

  /** @param {Promise<unknown>} request */
  async #run(request) {
    try {
      await request;
    } catch (error) {
      toast(describe(error));
    }
  }
}

/**
 * @param {HTMLElement} control
 * @param {HTMLElement} badge
 * @param {string} label
 * @param {number} count
 */
export function showCount(control, badge, label, count) {
  const text = count > 99 ? '99+' : String(count);
  if (badge.textContent !== text) badge.textContent = text;
  badge.hidden = count === 0;
  control.setAttribute('aria-label', count === 0 ? t(label) : t('bar.with_unread', { label: t(label), count: text }));
}
