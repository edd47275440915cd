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
 * @param {Question} question
 * @returns {Promise<string | null>} the answer, trimmed; null when the dialog was dismissed
 */
export function ask(question) {
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
  const form = h(
    'form',
    { method: 'dialog' },
    h('h2', { id: 'dialog-title' }, question.title),
    question.text && h('p', {}, question.text),
    h('div', { class: 'field' }, h('label', { for: 'answer' }, question.label), field, hint),
    h(
      'div',
      { class: 'actions' },
      !question.required &&
        h('button', { type: 'button', class: 'button quiet', onclick: () => dialog.close() }, t('dialog.cancel')),
      h('button', { type: 'submit', class: 'button primary' }, question.accept),
    ),
  );
  const dialog = /** @type {HTMLDialogElement} */ (
    h('dialog', { class: 'sheet', 'aria-labelledby': 'dialog-title' }, form)
  );
  document.body.append(dialog);

  return new Promise((resolve) => {
    /** @type {string | null} */
    let answer = null;
    form.addEventListener('submit', (event) => {
      const value = field.value.trim();
      const fault = question.fault?.(value) ?? null;
      if (fault === null) {
        answer = value;
        return;
      }
      event.preventDefault();
      hint.textContent = fault;
      field.setAttribute('aria-invalid', 'true');
      field.focus();
    });
    dialog.addEventListener('cancel', (event) => {
      if (question.required) event.preventDefault();
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(answer);
    });
    dialog.showModal();
    field.select();
  });
}
