// @ts-check
/** @file Where messages are written: new ones, replies, edits, with links to files. */

import { t } from '../i18n.js';
import { openSheet } from '../ui/dialog.js';
import { h, icon } from '../ui/dom.js';
import { toast } from '../ui/toast.js';
import { describe } from './faults.js';
import { parse } from './links.js';
import { gistOf } from './names.js';

/** @typedef {import('../../sdk/redred.js').Room} Room */
/** @typedef {import('../../sdk/types.d.ts').Attachment} Attachment */
/** @typedef {import('../../sdk/types.d.ts').RoomMessage} RoomMessage */

const TEXT_MAX = 4000;
const ATTACHMENTS_MAX = 10;
/** Near the end of a message its length is worth showing. */
const COUNTED_FROM = 3600;

/** @type {Record<string, string>} */
const TYPES = {
  ...{ jpg: 'image/jpeg', jpeg: 'image/jpeg', png: 'image/png', gif: 'image/gif', webp: 'image/webp', avif: 'image/avif' },
  ...{ svg: 'image/svg+xml', mp4: 'video/mp4', webm: 'video/webm', mp3: 'audio/mpeg', ogg: 'audio/ogg', wav: 'audio/wav' },
  ...{ pdf: 'application/pdf', zip: 'application/zip', txt: 'text/plain', csv: 'text/csv', html: 'text/html' },
};

/** What was typed and not sent, room by room. @type {Map<string, string>} */
const drafts = new Map();

export class Composer {
  #room;
  #onSend;
  #form;
  #input;
  #send;
  #context;
  #chips;
  #counter;
  /** @type {RoomMessage | null} */
  #replyTo = null;
  /** @type {RoomMessage | null} */
  #editing = null;
  /** @type {Attachment[]} */
  #attachments = [];

  /**
   * @param {Room} room
   * @param {() => void} onSend
   */
  constructor(room, onSend) {
    this.#room = room;
    this.#onSend = onSend;
    this.#input = /** @type {HTMLTextAreaElement} */ (
      h('textarea', {
        class: 'input',
        id: 'message-input',
        rows: 1,
        maxlength: TEXT_MAX,
        placeholder: t('inbox.write'),
        'aria-label': t('inbox.write'),
        autocomplete: 'off',
        enterkeyhint: 'send',
        oninput: () => this.#handleInput(),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#handleKey(event),
        onblur: () => room.stopTyping(),
      })
    );
    this.#send = /** @type {HTMLButtonElement} */ (
      h('button', { type: 'submit', class: 'button primary round', id: 'message-send', 'aria-label': t('inbox.send') }, icon('send'))
    );
    this.#counter = h('span', { class: 'counter hint', hidden: true });
    this.#context = h('div', { class: 'context', hidden: true });
    this.#chips = h('div', { class: 'chips', hidden: true });
    this.#form = h(
      'form',
      {
        class: 'compose',
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          this.#submit();
        },
      },
      h(
        'button',
        { type: 'button', class: 'button quiet round', id: 'attach', 'aria-label': t('inbox.attach'), title: t('inbox.attach'), onclick: () => this.#attach() },
        icon('attach'),
      ),
      this.#input,
      this.#counter,
      this.#send,
    );
    this.element = h('div', { class: 'composer' }, this.#context, this.#chips, this.#form);
    this.#input.value = drafts.get(room.id) ?? '';
    this.#show();
  }

  close() {
    if (!this.#editing) drafts.set(this.#room.id, this.#input.value);
    this.#room.stopTyping();
  }

  focus() {
    this.#input.focus();
  }

  /** @param {RoomMessage} message */
  reply(message) {
    this.#leaveEdit();
    this.#replyTo = message;
    this.#show();
    this.focus();
  }

  /** @param {RoomMessage} message */
  edit(message) {
    if (!this.#editing) drafts.set(this.#room.id, this.#input.value);
    this.#replyTo = null;
    this.#editing = message;
    this.#input.value = message.text;
    this.#show();
    this.focus();
    this.#input.setSelectionRange(message.text.length, message.text.length);
  }

  #leaveEdit() {
    if (!this.#editing) return;
    this.#editing = null;
    this.#input.value = drafts.get(this.#room.id) ?? '';
  }

  #cancel() {
    this.#leaveEdit();
    this.#replyTo = null;
    this.#show();
    this.focus();
  }

  #handleInput() {
    this.#show();
    if (this.#input.value === '') this.#room.stopTyping();
    else if (!this.#editing) this.#room.typing();
  }

  /** @param {KeyboardEvent} event */
  #handleKey(event) {
    if (event.key === 'Escape' && (this.#replyTo || this.#editing)) {
      event.preventDefault();
      return this.#cancel();
    }
    if (event.key === 'ArrowUp' && this.#input.value === '') {
      const last = this.#room.state.messages.findLast(({ sender, status, deleted }) => sender.id === this.#room.self && status === 'sent' && !deleted);
      if (last?.text) {
        event.preventDefault();
        this.edit(last);
      }
      return;
    }
    // On a phone's keyboard the return key makes a new line; the button beside it sends.
    const sends = event.key === 'Enter' && !event.shiftKey && !event.isComposing && !matchMedia('(pointer: coarse)').matches;
    if (!sends) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.#input.value.trim();
    if (this.#editing) return this.#submitEdit(this.#editing, text);
    if (text === '' && this.#attachments.length === 0) return;
    // What becomes of it stands at the message itself.
    void this.#room.send(text, { replyTo: this.#replyTo?.id, attachments: this.#attachments });
    this.#input.value = '';
    drafts.delete(this.#room.id);
    this.#replyTo = null;
    this.#attachments = [];
    this.#show();
    this.#onSend();
  }

  /**
   * @param {RoomMessage} message
   * @param {string} text
   */
  #submitEdit(message, text) {
    if (text === '') return;
    this.#cancel();
    if (text !== message.text) this.#room.edit(message.id, text).catch((error) => toast(describe(error)));
  }

  #show() {
    const isEditing = this.#editing !== null;
    this.#send.disabled = this.#input.value.trim() === '' && (isEditing || this.#attachments.length === 0);
    this.#input.style.height = 'auto';
    this.#input.style.height = `${this.#input.scrollHeight + 2}px`;
    const { length } = this.#input.value;
    this.#counter.hidden = length < COUNTED_FROM;
    this.#counter.textContent = String(TEXT_MAX - length);

    const subject = this.#editing ?? this.#replyTo;
    this.#context.hidden = subject === null;
    if (subject) {
      this.#context.replaceChildren(
        icon(isEditing ? 'edit' : 'reply'),
        h('p', {}, h('b', {}, isEditing ? t('inbox.editing') : t('inbox.replying', { name: subject.sender.name })), h('span', { dir: 'auto' }, gistOf(subject))),
        h('button', { type: 'button', class: 'button quiet round', 'aria-label': t('dialog.cancel'), onclick: () => this.#cancel() }, icon('close')),
      );
    }
    this.#chips.hidden = this.#attachments.length === 0;
    this.#chips.replaceChildren(...this.#attachments.map((attachment) => this.#renderChip(attachment)));
  }

  /** @param {Attachment} attachment */
  #renderChip(attachment) {
    const remove = () => {
      this.#attachments = this.#attachments.filter((other) => other !== attachment);
      this.#show();
    };
    return h(
      'span',
      { class: 'chip' },
      icon(attachment.type.startsWith('image/') ? 'image' : 'file'),
      h('span', { dir: 'auto' }, attachment.name ?? attachment.url),
      h('button', { type: 'button', 'aria-label': t('inbox.unattach', { name: attachment.name ?? attachment.url }), onclick: remove }, icon('close')),
    );
  }

  /** The server keeps no files: an attachment is the address of one. */
  #attach() {
    if (this.#attachments.length >= ATTACHMENTS_MAX) return toast(t('inbox.attach_full', { n: ATTACHMENTS_MAX }));
    const address = /** @type {HTMLInputElement} */ (
      h('input', { class: 'input', id: 'attach-url', type: 'url', required: true, maxlength: 2048, placeholder: 'https://', autocomplete: 'off' })
    );
    const name = /** @type {HTMLInputElement} */ (h('input', { class: 'input', id: 'attach-name', maxlength: 255, autocomplete: 'off' }));
    openSheet({
      title: t('inbox.attach'),
      content: [
        h('p', { class: 'hint' }, t('inbox.attach_hint')),
        h('div', { class: 'field' }, h('label', { for: 'attach-url' }, t('inbox.attach_url')), address),
        h('div', { class: 'field' }, h('label', { for: 'attach-name' }, t('inbox.attach_name')), name),
      ],
      accept: t('inbox.attach_accept'),
      submit: () => {
        const url = parse(address.value.trim());
        if (!url) return t('inbox.attach_fault');
        const file = decodeURIComponent(url.pathname.split('/').at(-1) ?? '');
        const extension = file.toLowerCase().split('.').at(-1) ?? '';
        const title = name.value.trim() || file || url.hostname;
        this.#attachments = [...this.#attachments, { url: url.href, type: TYPES[extension] ?? 'application/octet-stream', size: 0, name: title.slice(0, 255) }];
        this.#show();
        return null;
      },
    }).closed.then(() => this.focus());
  }
}
