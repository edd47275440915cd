// @ts-check
/** @file The comments beside a stream: reading, writing, moderating. */

import { describe } from './faults.js';
import { formatSpan, formatTime, t } from './i18n.js';
import { avatar, h, hueOf, icon } from './ui/dom.js';
import { ask } from './ui/dialog.js';
import { openMenu } from './ui/menu.js';
import { toast } from './ui/toast.js';

/** @typedef {import('../sdk/redred.js').LiveChannel} LiveChannel */
/** @typedef {import('../sdk/types.d.ts').Comment} Comment */
/** @typedef {import('../sdk/types.d.ts').LiveState} LiveState */
/** @typedef {import('./ui/menu.js').Entry} Entry */

const COMMENT_MAX = 500;
/** The server tells at most this many when we join. */
const KEPT_MIN = 50;
/** Near the end of a comment its length is worth showing. */
const COUNTED_FROM = 400;
const TIMEOUTS = [10, 60, 600, 3600, 86_400];
const SLOW_MODES = [0, 3, 5, 10, 30, 60, 120];
export const REACTIONS = ['❤️', '🔥', '👏', '😂', '😮', '🎉'];

/** @type {Record<string, string>} */
const BADGES = { streamer: 'star', moderator: 'shield', vip: 'gem' };

export class Chat {
  #live;
  #root;
  #list;
  #pinned;
  #form;
  #input;
  #send;
  #notice;
  #jump;
  #settings;
  #counter;
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  #unread = 0;
  /** When the next comment may be sent, by our own clock. */
  #freeAt = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  #isOpen = false;
  /** Whether the reader is at the end and wants to stay there. */
  #sticks = true;
  #lastTop = 0;

  /**
   * @param {HTMLElement} root
   * @param {LiveChannel} live
   */
  constructor(root, live) {
    this.#root = root;
    this.#live = live;
    this.#settings = h(
      'button',
      {
        type: 'button',
        class: 'button quiet round',
        id: 'chat-settings',
        'aria-haspopup': 'menu',
        'aria-expanded': 'false',
        'aria-label': t('chat.settings'),
        hidden: true,
        onclick: () => this.#openSettings(),
      },
      icon('more'),
    );
    this.#pinned = h('div', { class: 'pinned', hidden: true });
    this.#list = h('div', {
      class: 'comments',
      id: 'comments',
      role: 'log',
      'aria-live': 'polite',
      'aria-label': t('chat.title'),
      tabindex: '0',
      onscroll: () => this.#handleScroll(),
    });
    this.#jump = h(
      'button',
      { type: 'button', class: 'button jump', hidden: true, onclick: () => this.#scrollToEnd() },
      icon('chevron'),
      h('span', {}),
    );
    this.#notice = h('p', { class: 'chat-notice hint', id: 'chat-notice', role: 'status', hidden: true });
    this.#input = /** @type {HTMLInputElement} */ (
      h('input', {
        class: 'input',
        id: 'comment-input',
        maxlength: COMMENT_MAX,
        placeholder: t('chat.placeholder'),
        'aria-label': t('chat.placeholder'),
        'aria-describedby': 'chat-notice',
        autocomplete: 'off',
        enterkeyhint: 'send',
        oninput: () => this.#showControls(),
      })
    );
    this.#counter = h('span', { class: 'counter hint', hidden: true });
    this.#send = /** @type {HTMLButtonElement} */ (
      h(
        'button',
        { type: 'submit', class: 'button primary round', id: 'comment-send', 'aria-label': t('chat.send') },
        icon('send'),
        h('span', { class: 'wait', hidden: true }),
      )
    );
    this.#form = h(
      'form',
      {
        class: 'compose',
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          void this.#submit();
        },
      },
      this.#input,
      this.#counter,
      this.#send,
    );
    const reactions = h(
      'div',
      { class: 'reactions', role: 'group', 'aria-label': t('chat.react') },
      ...REACTIONS.map((emoji) =>
        h(
          'button',
          { type: 'button', 'aria-label': t('chat.react_with', { emoji }), onclick: () => live.react(emoji) },
          emoji,
        ),
      ),
    );
    root.append(
      h('header', { class: 'chat-head' }, h('h2', {}, t('chat.title')), this.#settings),
      this.#pinned,
      h('div', { class: 'comments-frame' }, this.#list, this.#jump),
      h('footer', { class: 'chat-foot' }, this.#notice, reactions, this.#form),
    );

    // A keyboard that opens on a phone takes half of the list: its end stays in sight.
    new ResizeObserver(() => {
      if (this.#sticks) this.#scrollToEnd();
    }).observe(this.#list);
    live.on('state', (state) => this.#show(state));
    live.on('subscribed', () => this.#setOpen(true));
    live.on('disconnected', () => this.#setOpen(false));
    live.on('refused', () => this.#setOpen(false));
    this.#show(live.state);
    this.#setOpen(live.active);
  }

  // Showing.

  /** @param {LiveState} state */
  #show(state) {
    for (const comment of state.comments) {
      const known = this.#rows.get(comment.id);
      if (known?.dataset.role === comment.user.role) continue;
      const row = this.#renderComment(comment);
      if (known) known.replaceWith(row);
      else this.#list.append(row);
      if (!known && !this.#sticks) this.#unread += 1;
      this.#rows.set(comment.id, row);
    }
    this.#clear(state.comments);
    this.#list.classList.toggle('empty', this.#rows.size === 0);
    if (this.#rows.size === 0) this.#list.dataset.empty = t('chat.empty');
    if (this.#sticks) this.#scrollToEnd();
    this.#showJump();
    this.#showPinned(state);
    this.#settings.hidden = !canModerate(state);
    this.#root.classList.toggle('moderating', canModerate(state));
    this.#showControls();
  }

  /** @param {Comment} comment */
  #renderComment(comment) {
    const { id, user, text, created_at, highlighted } = comment;
    const badge = BADGES[user.role];
    const more = h(
      'button',
      {
        type: 'button',
        class: 'button quiet round comment-menu',
        'aria-haspopup': 'menu',
        'aria-expanded': 'false',
        'aria-label': t('chat.moderate', { name: user.name }),
        onclick: () => this.#openModeration(comment, more),
      },
      icon('more'),
    );
    return h(
      'article',
      {
        class: `comment ${user.role}${highlighted ? ' highlighted' : ''}`,
        'data-id': id,
        'data-role': user.role,
        hue: hueOf(user.id),
      },
      avatar(user.name, user.id),
      h(
        'div',
        { class: 'said' },
        h(
          'p',
          { class: 'by' },
          h('b', {}, user.name),
          badge && h('span', { class: `badge ${user.role}` }, icon(badge), t(`role.${user.role}`)),
          h('time', { datetime: created_at }, formatTime(created_at)),
        ),
        h('p', { class: 'text', dir: 'auto' }, text),
      ),
      more,
    );
  }

  /**
   * A comment that is no longer kept was deleted, and its place says so; only from a list that is full do the oldest leave
   * by themselves.
   *
   * @param {Comment[]} kept
   */
  #clear(kept) {
    const ids = new Set(kept.map(({ id }) => id));
    let isOlder = kept.length >= KEPT_MIN;
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) {
        isOlder = false;
      } else if (isOlder) {
        row.remove();
        this.#rows.delete(id);
      } else if (!row.classList.contains('buried')) {
        row.className = 'comment buried';
        row.replaceChildren(h('p', { class: 'text' }, t('chat.removed')));
      }
    }
  }

  /** @param {LiveState} state */
  #showPinned({ settings }) {
    const { pinned } = settings;
    this.#pinned.hidden = !pinned;
    if (!pinned || this.#pinned.dataset.id === pinned.id) return;
    this.#pinned.dataset.id = pinned.id;
    this.#pinned.replaceChildren(
      icon('pin'),
      h('p', {}, h('b', {}, pinned.user.name), ' ', h('span', { dir: 'auto' }, pinned.text)),
    );
  }

  #isAtEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#list;
    return scrollHeight - scrollTop - clientHeight < 60;
  }

  #scrollToEnd() {
    this.#sticks = true;
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#lastTop = this.#list.scrollTop;
    this.#unread = 0;
    this.#showJump();
  }

  #handleScroll() {
    // Only a reader who scrolls back leaves the end; a list that shrinks or grows does not take anybody away from it.
    const { scrollTop } = this.#list;
    if (this.#isAtEnd()) this.#sticks = true;
    else if (scrollTop < this.#lastTop) this.#sticks = false;
    this.#lastTop = scrollTop;
    if (this.#sticks) this.#unread = 0;
    this.#showJump();
  }

  #showJump() {
    this.#jump.hidden = this.#unread === 0;
    const label = this.#jump.querySelector('span');
    if (label) label.textContent = t('chat.unread', { n: this.#unread });
  }

  // Writing.

  /** @param {boolean} isOpen whether the server hears us */
  #setOpen(isOpen) {
    this.#isOpen = isOpen;
    this.#showControls();
  }

  #showControls() {
    const now = Date.now();
    const { settings, role, timed_out_until: until } = this.#live.state;
    const waitMs = this.#freeAt - now;
    const outMs = until ? new Date(until).getTime() - now : 0;
    const isWaiting = waitMs > 0 || outMs > 0;

    this.#send.disabled = !this.#isOpen || isWaiting || this.#input.value.trim() === '';
    const isClosed = this.#live.connection.state === 'closed';
    this.#input.disabled = outMs > 0 || isClosed;
    const wait = /** @type {HTMLElement} */ (this.#send.querySelector('.wait'));
    wait.hidden = waitMs <= 0;
    wait.textContent = wait.hidden ? '' : String(Math.ceil(waitMs / 1000));
    this.#send.classList.toggle('counting', waitMs > 0);

    const length = this.#input.value.length;
    this.#counter.hidden = length < COUNTED_FROM;
    this.#counter.textContent = String(COMMENT_MAX - length);

    const isSlow = settings.slow_mode_seconds > 0;
    const exempt = isSlow && role !== 'viewer';
    let notice = '';
    if (isClosed) notice = t('chat.closed');
    else if (!this.#isOpen) notice = t('chat.connecting');
    else if (outMs > 0) notice = t('chat.timed_out', { wait: formatSpan(Math.ceil(outMs / 1000)) });
    else if (isSlow) notice = t(exempt ? 'chat.slow_mode_exempt' : 'chat.slow_mode', { wait: formatSpan(settings.slow_mode_seconds) });
    // Set only when it changes: a screen reader reads it out each time.
    if (this.#notice.textContent !== notice) this.#notice.textContent = notice;
    this.#notice.hidden = notice === '';

    clearInterval(this.#countdown);
    if (isWaiting) this.#countdown = setInterval(() => this.#showControls(), 250);
  }

  async #submit() {
    const text = this.#input.value.trim();
    if (text === '' || this.#send.disabled) return;
    this.#input.value = '';
    this.#showControls();
    try {
      await this.#live.comment(text);
      const { settings, role } = this.#live.state;
      if (role === 'viewer') this.#wait(settings.slow_mode_seconds * 1000);
      this.#scrollToEnd();
    } catch (error) {
      const { retryAfterMs } = /** @type {import('../sdk/redred.js').RedredError} */ (error);
      if (this.#input.value === '') this.#input.value = text;
      this.#wait(retryAfterMs ?? 0);
      toast(describe(error));
    }
  }

  /** @param {number} ms */
  #wait(ms) {
    this.#freeAt = Math.max(this.#freeAt, Date.now() + ms);
    this.#showControls();
  }

  // Moderating.

  /**
   * @param {Comment} comment
   * @param {HTMLElement} anchor
   */
  #openModeration({ id, user }, anchor) {
    const live = this.#live;
    const { role, settings } = live.state;
    const isPinned = settings.pinned?.id === id;
    /** @type {Entry[]} */
    const entries = [
      {
        label: isPinned ? t('chat.unpin') : t('chat.pin'),
        icon: 'pin',
        select: () => void this.#run(live.pin(isPinned ? null : id)),
      },
      { label: t('chat.delete'), icon: 'trash', select: () => void this.#run(live.deleteComment(id)) },
    ];
    const isMe = user.id === live.connection.session?.user_id;
    if (user.role !== 'streamer' && !isMe) {
      entries.push({ heading: t('chat.timeout_heading', { name: user.name }) });
      for (const seconds of TIMEOUTS) {
        entries.push({
          label: formatSpan(seconds),
          icon: 'clock',
          select: () =>
            void this.#run(live.timeout(user.id, seconds), t('chat.timed_out_done', { name: user.name, wait: formatSpan(seconds) })),
        });
      }
      entries.push(
        'line',
        {
          label: t('chat.kick', { name: user.name }),
          icon: 'exit',
          danger: true,
          select: () => void this.#run(live.kick(user.id), t('chat.kicked_done', { name: user.name })),
        },
        { label: t('chat.ban', { name: user.name }), icon: 'ban', danger: true, select: () => void this.#ban(user) },
        { heading: t('chat.role_heading', { name: user.name }) },
      );
      /** @type {('viewer' | 'vip' | 'moderator')[]} */
      const roles = role === 'streamer' ? ['viewer', 'vip', 'moderator'] : ['viewer', 'vip'];
      for (const next of roles) {
        entries.push({
          label: t(`role.${next}`),
          icon: BADGES[next] ?? 'user',
          checked: user.role === next,
          select: () => void this.#run(live.setRole(user.id, next), t('chat.role_done', { name: user.name, role: t(`role.${next}`) })),
        });
      }
    }
    openMenu(anchor, t('chat.moderate', { name: user.name }), entries);
  }

  /** A ban is for good, so the way back stands beside it. @param {{ id: string, name: string }} user */
  async #ban({ id, name }) {
    try {
      await this.#live.ban(id);
      toast(t('chat.banned_done', { name }), {
        label: t('chat.undo'),
        run: () => void this.#run(this.#live.unban(id), t('chat.unbanned_done', { name })),
      });
    } catch (error) {
      toast(describe(error));
    }
  }

  #openSettings() {
    const { slow_mode_seconds: now } = this.#live.state.settings;
    /** @type {Entry[]} */
    const entries = [{ heading: t('chat.slow_heading') }];
    for (const seconds of SLOW_MODES) {
      entries.push({
        label: seconds === 0 ? t('chat.slow_off') : formatSpan(seconds),
        checked: seconds === now,
        select: () => void this.#run(this.#live.slowMode(seconds)),
      });
    }
    entries.push('line', { label: t('chat.unban'), icon: 'user', select: () => void this.#unban() });
    openMenu(this.#settings, t('chat.settings'), entries);
  }

  async #unban() {
    const id = await ask({
      title: t('chat.unban_title'),
      label: t('chat.unban_label'),
      accept: t('chat.unban_accept'),
      maxLength: 64,
      fault: (value) => (/^[\w.-]+$/.test(value) ? null : t('chat.unban_fault')),
    });
    if (id !== null) await this.#run(this.#live.unban(id), t('chat.unbanned_done', { name: id }));
  }

  /**
   * @param {Promise<unknown>} request
   * @param {string} [done]
   */
  async #run(request, done) {
    try {
      await request;
      if (done) toast(done);
    } catch (error) {
      toast(describe(error));
    }
  }
}

/** @param {LiveState} state */
function canModerate({ permissions }) {
  return permissions.moderate;
}
