// @ts-check
/** @file A question with a field or two, asked in a dialog of the browser's own. */

import { t } from '../i18n.js';
import { h } from './dom.js';

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} [text]
 * @property {string} label of the field
 * @property {string} [hint]
 * @property {string} [value]
 * @property {number} [maxLength]
 * @property {boolean} [multiline]
 * @property {string} accept on the button
 * @property {boolean} [required] leaves no way out but an answer
 * @property {(value: string) => string | null} [fault] what is wrong with an answer, in words; null when nothing is
 */

/**
 * A dialog with fields of any kind.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {import('./dom.js').Child[]} options.content
 * @param {string} [options.accept] on the button that submits; without it there is only one that closes
 * @param {string} [options.cancel]
 * @param {boolean} [options.required] leaves no way out but submitting
 * @param {() => string | null | Promise<string | null>} [options.submit] what is wrong, in words; null closes the dialog
 * @returns {{ close: () => void, closed: Promise<void>, fault: (text: string) => void }}
 */
export function openSheet({ title, content, accept, cancel, required, submit }) {
  const fault = h('p', { class: 'notice bad', role: 'alert', hidden: true });
  const leave =
    !required &&
    h(
      'button',
      { type: 'button', class: `button ${accept ? 'quiet' : ''}`, onclick: () => dialog.close() },
      cancel ?? t(accept ? 'dialog.cancel' : 'dialog.close'),
    );
  const send = accept && /** @type {HTMLButtonElement} */ (h('button', { type: 'submit', class: 'button primary' }, accept));
  const form = h(
    'form',
    { method: 'dialog' },
    h('h2', { id: 'dialog-title' }, title),
    ...content,
    fault,
    h('div', { class: 'actions' }, leave, send),
  );
  const dialog = /** @type {HTMLDialogElement} */ (
    h('dialog', { class: 'sheet', 'aria-labelledby': 'dialog-title' }, form)
  );
  document.body.append(dialog);
  const showFault = (/** @type {string} */ text) => {
    fault.textContent = text;
    fault.hidden = text === '';
  };
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (send) send.disabled = true;
    const wrong = (await submit?.()) ?? null;
    if (send) send.disabled = false;
    if (wrong === null) dialog.close();
    else showFault(wrong);
  });
  dialog.addEventListener('cancel', (event) => {
    if (required) event.preventDefault();
  });
  const closed = new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(undefined);
    });
  });
  dialog.showModal();
  return { close: () => dialog.close(), closed, fault: showFault };
}

/**
 * @param {Question} question
 * @returns {Promise<string | null>} the answer, trimmed; null when the dialog was dismissed
 */
export async function ask(question) {
  const field = /** @type {HTMLInputElement | HTMLTextAreaElement} */ (
    h(question.multiline ? 'textarea' : 'input', {
      class: 'input',
      id: 'answer',
      name: 'answer',
      maxlength: question.maxLength,
      autocomplete: 'off',
      spellcheck: 'false',
      'aria-describedby': 'answer-hint',
    })
  );
  field.value = question.value ?? '';
  const hint = h('p', { class: 'hint', id: 'answer-hint', role: 'status' }, question.hint ?? '');
  /** @type {string | null} */
  let answer = null;
  const { closed } = openSheet({
    title: question.title,
    content: [
      question.text && h('p', {}, question.text),
      h('div', { class: 'field' }, h('label', { for: 'answer' }, question.label), field, hint),
    ],
    accept: question.accept,
    required: question.required,
    submit: () => {
      const value = field.value.trim();
      const fault = question.fault?.(value) ?? null;
      if (fault === null) {
        answer = value;
      } else {
        field.setAttribute('aria-invalid', 'true');
        field.focus();
      }
      return fault;
    },
  });
  field.select();
  await closed;
  return answer;
}

/**
 * A question that is answered by a button.
 *
 * @param {{ title: string, text: string, accept: string }} question
 * @returns {Promise<boolean>}
 */
export async function confirm({ title, text, accept }) {
  let isSure = false;
  const { closed } = openSheet({
    title,
    content: [h('p', {}, text)],
    accept,
    submit: () => {
      isSure = true;
      return null;
    },
  });
  await closed;
  return isSure;
}
