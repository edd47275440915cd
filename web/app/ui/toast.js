// @ts-check
/** @file Short messages that come and go. */

import { h } from './dom.js';

/** Long enough to read a sentence and reach for its button. */
const SHOWN_MS = 6000;

/** @type {HTMLElement | null} */
let region = null;

/**
 * @param {string} text
 * @param {{ label: string, run: () => void }} [action]
 */
export function toast(text, action) {
  if (!region) {
    region = h('div', { class: 'toasts', role: 'status', 'aria-live': 'polite' });
    document.body.append(region);
  }
  const item = h(
    'div',
    { class: 'toast' },
    h('span', {}, text),
    action &&
      h(
        'button',
        {
          type: 'button',
          onclick: () => {
            item.remove();
            action.run();
          },
        },
        action.label,
      ),
  );
  region.append(item);
  while (region.childElementCount > 3) region.firstElementChild?.remove();
  setTimeout(() => item.remove(), SHOWN_MS);
}
