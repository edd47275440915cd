// @ts-check
/** @file What a user wants to hear: kinds that are muted, hours of silence. */

import { describe } from './faults.js';
import { t } from './i18n.js';
import { KINDS } from './notes.js';
import { openSheet } from './ui/dialog.js';
import { h } from './ui/dom.js';
import { toast } from './ui/toast.js';

/** @typedef {import('../sdk/redred.js').Notifications} Notifications */

const FROM = '22:00';
const TO = '07:00';

/** @param {Notifications} notifications */
export function askPreferences(notifications) {
  const { muted_kinds: muted, quiet_hours: quiet } = notifications.state.preferences;
  const kinds = KINDS.map((kind) => {
    const box = /** @type {HTMLInputElement} */ (h('input', { type: 'checkbox', name: 'kind', value: kind }));
    box.checked = !muted.includes(kind);
    return { kind, box, row: h('label', { class: 'check' }, box, h('span', {}, t(`kind.${kind}`))) };
  });
  const isQuiet = /** @type {HTMLInputElement} */ (h('input', { type: 'checkbox', id: 'quiet', onchange: () => showHours() }));
  const from = timeField('quiet-from', t('bell.quiet_from'), quiet ? clock(quiet.from_minute) : FROM);
  const to = timeField('quiet-to', t('bell.quiet_to'), quiet ? clock(quiet.to_minute) : TO);
  const hours = h('div', { class: 'hours' }, from.row, to.row);
  isQuiet.checked = quiet !== null && quiet !== undefined;
  const showHours = () => {
    hours.hidden = !isQuiet.checked;
  };
  showHours();

  const sheet = openSheet({
    title: t('bell.settings'),
    content: [
      h('fieldset', { class: 'plain' }, h('legend', { class: 'label' }, t('bell.kinds')), h('div', { class: 'kinds' }, ...kinds.map(({ row }) => row))),
      h('fieldset', { class: 'plain' }, h('legend', { class: 'label' }, t('bell.quiet')), h('p', { class: 'hint' }, t('bell.quiet_hint')), h('label', { class: 'check' }, isQuiet, h('span', {}, t('bell.quiet_on'))), hours),
    ],
    accept: t('bell.save'),
    submit: async () => {
      // Kinds of an application's own, muted elsewhere, stay so.
      const others = muted.filter((kind) => !KINDS.includes(kind));
      try {
        await notifications.setPreferences({
          muted_kinds: [...others, ...kinds.filter(({ box }) => !box.checked).map(({ kind }) => kind)],
          quiet_hours: isQuiet.checked
            ? {
                from_minute: minute(from.input.value || FROM),
                to_minute: minute(to.input.value || TO),
                utc_offset_minutes: -new Date().getTimezoneOffset(),
              }
            : null,
        });
        toast(t('bell.saved'));
      } catch (error) {
        return describe(error);
      }
      return null;
    },
  });
  return sheet;
}

/**
 * @param {string} id
 * @param {string} label
 * @param {string} value
 */
function timeField(id, label, value) {
  const input = /** @type {HTMLInputElement} */ (h('input', { class: 'input', type: 'time', id, required: true }));
  input.value = value;
  return { input, row: h('div', { class: 'field' }, h('label', { for: id }, label), input) };
}

/** @param {number} minutes */
function clock(minutes) {
  const pad = (/** @type {number} */ value) => String(value).padStart(2, '0');
  return `${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;
}

/** @param {string} time */
function minute(time) {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  return hours * 60 + minutes;
}
