// @ts-check
/** @file One conversation: who it is with, what is said, and what may be done about it. */

import { t } from '../i18n.js';
import { confirm } from '../ui/dialog.js';
import { h, icon } from '../ui/dom.js';
import { openMenu } from '../ui/menu.js';
import { toast } from '../ui/toast.js';
import { Composer } from './compose.js';
import { describe } from './faults.js';
import { openGroup } from './group.js';
import { partnerOf, pictureOf, presenceOf, titleOf, typingText } from './names.js';
import { Thread } from './thread.js';

/** @typedef {import('../../sdk/redred.js').Chat} Chat */
/** @typedef {import('../../sdk/redred.js').RedredError} RedredError */
/** @typedef {import('../../sdk/redred.js').Room} Room */
/** @typedef {import('../../sdk/types.d.ts').RoomMessage} RoomMessage */
/** @typedef {import('../../sdk/types.d.ts').RoomState} RoomState */
/** @typedef {import('../ui/menu.js').Entry} Entry */

/** How often "5 min ago" moves on. */
const AGE_MS = 30_000;

export class Conversation {
  #chat;
  #room;
  #thread;
  #composer;
  #picture;
  #title;
  #subtitle;
  #strip;
  #isBlocked = false;
  #back;
  /** @type {(() => void)[]} */
  #offs;
  /** @type {ReturnType<typeof setInterval>} */
  #clock;

  /**
   * @param {HTMLElement} root
   * @param {Chat} chat
   * @param {string} id of the room
   * @param {() => void} back to the list
   */
  constructor(root, chat, id, back) {
    this.#chat = chat;
    this.#back = back;
    this.#room = chat.room(id);
    this.#thread = new Thread(this.#room, { openMenu: (message, anchor) => this.#openMessage(message, anchor) });
    this.#composer = new Composer(this.#room, () => {
      this.#thread.forgetNew();
      void this.#thread.toNewest();
    });
    this.#picture = h('span', {});
    this.#title = h('h2', { id: 'room-title', dir: 'auto' });
    this.#subtitle = h('p', { class: 'subtitle', id: 'room-subtitle', role: 'status' });
    this.#strip = h('p', { class: 'strip', id: 'connection-strip', role: 'status', hidden: true });
    const menu = h(
      'button',
      { type: 'button', class: 'button quiet round', id: 'room-menu', 'aria-haspopup': 'menu', 'aria-expanded': 'false', 'aria-label': t('inbox.room_menu'), onclick: () => this.#openRoomMenu(menu) },
      icon('more'),
    );
    root.replaceChildren(
      h(
        'header',
        { class: 'conversation-head' },
        h('button', { type: 'button', class: 'button quiet round back', id: 'back', 'aria-label': t('inbox.back'), onclick: back }, icon('back')),
        this.#picture,
        h('div', { class: 'who' }, this.#title, this.#subtitle),
        menu,
      ),
      this.#thread.element,
      this.#strip,
      this.#composer.element,
    );
    const room = this.#room;
    this.#offs = [
      room.on('state', (state) => this.#show(state)),
      room.on('refused', (error) => this.#showRefusal(error)),
      room.on('subscribed', () => this.#showStrip()),
      room.connection.on('state', () => this.#showStrip()),
    ];
    this.#clock = setInterval(() => this.#showHead(room.state), AGE_MS);
    this.#show(room.state);
    room.subscribe();
    this.#showStrip();
    void this.#learnBlock();
  }

  get room() {
    return this.#room;
  }

  close() {
    for (const off of this.#offs) off();
    clearInterval(this.#clock);
    this.#thread.close();
    this.#composer.close();
    this.#room.unsubscribe();
  }

  focus() {
    if (!matchMedia('(pointer: coarse)').matches) this.#composer.focus();
  }

  /** @param {{ id: string, seq: number }} message */
  async showMessage(message) {
    try {
      if (!this.#room.state.room) await new Promise((resolve) => this.#room.once('subscribed', () => resolve(undefined)));
      await this.#thread.showMessage(message);
    } catch (error) {
      toast(describe(error));
    }
  }

  // Showing.

  /** @param {RoomState} state */
  #show(state) {
    this.#thread.show(state);
    this.#showHead(state);
    if (state.removed) this.#showClosed(t('inbox.removed'));
  }

  /** @param {RoomState} state */
  #showHead({ room: known, typing }) {
    // The list knows who it is before the room itself answers.
    const room = known ?? this.#chat.inbox.state.rooms.find(({ id }) => id === this.#room.id);
    if (!room) return;
    const { self } = this.#room;
    const title = titleOf(room, self);
    const names = room.members.map(({ id, name }) => (id === self ? t('inbox.you') : name)).join(', ');
    const still = room.kind === 'direct' ? presenceOf(partnerOf(room, self)) : names;
    const text = typing.length > 0 ? (room.kind === 'direct' ? t('inbox.typing') : typingText(typing)) : still;
    if (this.#title.textContent !== title) this.#title.textContent = title;
    if (this.#subtitle.textContent !== text) this.#subtitle.textContent = text;
    this.#subtitle.classList.toggle('busy', typing.length > 0);
    this.#picture.replaceChildren(pictureOf(room, self));
  }

  #showStrip() {
    const { connection, active, unsent } = this.#room;
    const isLost = connection.state === 'waiting' || connection.state === 'closed' || (connection.state === 'connecting' && this.#room.state.room !== null);
    const isClosed = connection.state === 'closed';
    this.#strip.hidden = active || !isLost;
    if (!this.#strip.hidden) this.#strip.textContent = t(isClosed ? 'inbox.closed' : unsent > 0 ? 'inbox.offline_unsent' : 'inbox.offline_strip');
  }

  /** @param {RedredError} error */
  #showRefusal(error) {
    const isGone = error.code === 'forbidden' || error.code === 'not_found';
    this.#showClosed(isGone ? t('inbox.no_access') : describe(error));
    if (!this.#room.state.room) this.#title.textContent = t('inbox.conversation');
  }

  /** @param {string} text */
  #showClosed(text) {
    this.#composer.element.hidden = true;
    this.#strip.hidden = false;
    this.#strip.textContent = text;
  }

  // Doing.

  /**
   * @param {RoomMessage} message
   * @param {HTMLElement} anchor
   */
  #openMessage(message, anchor) {
    const room = this.#room;
    const clientId = message.client_id ?? '';
    const isOwn = message.sender.id === room.self;
    if (message.status !== 'sent') {
      if (message.status === 'sending') return toast(t('tick.sending'));
      return openMenu(anchor, t('inbox.message_menu'), [
        { heading: message.error ? describe(message.error) : t('tick.failed') },
        { label: t('try_again'), icon: 'swap', select: () => room.retry(clientId) },
        { label: t('inbox.discard'), icon: 'trash', danger: true, select: () => room.discard(clientId) },
      ]);
    }
    const { me } = room;
    const mayDelete = isOwn || (room.state.room?.kind === 'group' && (me?.role === 'owner' || me?.role === 'admin'));
    /** @type {Entry[]} */
    const entries = [{ label: t('inbox.reply'), icon: 'reply', select: () => this.#composer.reply(message) }];
    if (message.text) entries.push({ label: t('inbox.copy'), icon: 'copy', select: () => void navigator.clipboard.writeText(message.text).then(() => toast(t('inbox.copied')), () => {}) });
    if (isOwn && message.text) entries.push({ label: t('inbox.edit'), icon: 'edit', select: () => this.#composer.edit(message) });
    if (mayDelete) entries.push({ label: t('inbox.delete'), icon: 'trash', danger: true, select: () => void this.#delete(message) });
    openMenu(anchor, t('inbox.message_menu'), entries);
  }

  /** @param {RoomMessage} message */
  async #delete({ id }) {
    if (await confirm({ title: t('inbox.delete_title'), text: t('inbox.delete_text'), accept: t('inbox.delete') })) {
      await this.#run(this.#room.delete(id));
    }
  }

  /** @param {HTMLElement} anchor */
  #openRoomMenu(anchor) {
    const { room } = this.#room.state;
    if (!room) return;
    /** @type {Entry[]} */
    const entries = [];
    if (room.kind === 'group') {
      entries.push(
        { label: t('group.title'), icon: 'group', select: () => openGroup(this.#room, this.#chat) },
        { label: t('group.leave'), icon: 'exit', danger: true, select: () => void this.#leave() },
      );
    } else {
      const partner = partnerOf(room, this.#room.self);
      if (!partner) return;
      entries.push(
        { heading: t('identity.user_id', { id: partner.id }) },
        this.#isBlocked
          ? { label: t('inbox.unblock', { name: partner.name }), icon: 'ban', select: () => void this.#unblock(partner.id, partner.name) }
          : { label: t('inbox.block', { name: partner.name }), icon: 'ban', danger: true, select: () => void this.#block(partner.id, partner.name) },
      );
    }
    openMenu(anchor, t('inbox.room_menu'), entries);
  }

  async #leave() {
    if (!(await confirm({ title: t('group.leave'), text: t('group.leave_text'), accept: t('group.leave') }))) return;
    if (await this.#run(this.#room.leaveRoom())) this.#back();
  }

  async #learnBlock() {
    try {
      const blocked = await this.#chat.blocks();
      const { room } = this.#room.state;
      const partner = room && partnerOf(room, this.#room.self);
      this.#isBlocked = blocked.some(({ id }) => id === partner?.id);
    } catch {
      // The menu then offers to block, which is right for almost everybody.
    }
  }

  /**
   * @param {string} id
   * @param {string} name
   */
  async #block(id, name) {
    if (!(await confirm({ title: t('inbox.block', { name }), text: t('inbox.block_text'), accept: t('inbox.block_accept') }))) return;
    if (await this.#run(this.#chat.block(id), t('inbox.blocked', { name }))) this.#isBlocked = true;
  }

  /**
   * @param {string} id
   * @param {string} name
   */
  async #unblock(id, name) {
    if (await this.#run(this.#chat.unblock(id), t('inbox.unblocked', { name }))) this.#isBlocked = false;
  }

  /**
   * @param {Promise<unknown>} request
   * @param {string} [done]
   * @returns {Promise<boolean>} whether it went well
   */
  async #run(request, done) {
    try {
      await request;
      if (done) toast(done);
      return true;
    } catch (error) {
      toast(describe(error));
      return false;
    }
  }
}
