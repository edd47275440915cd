// @ts-check
/** @file A menu that opens at a button and is used by pointer, touch or keyboard alike. */

import { h, icon } from './dom.js';

/**
 * @typedef {object} Item
 * @property {string} label
 * @property {string} [icon]
 * @property {string} [detail] in small letters at the end
 * @property {boolean} [checked] makes it one of several to choose from
 * @property {boolean} [danger]
 * @property {() => void} select
 */

/** @typedef {Item | { heading: string } | 'line'} Entry */

/** @type {(() => void) | null} */
let closeOpen = null;

/**
 * @param {HTMLElement} anchor the button it belongs to
 * @param {string} label what a screen reader calls it
 * @param {Entry[]} entries
 * @param {HTMLElement} [container] where it lives; inside the player it stays visible in full screen
 */
export function openMenu(anchor, label, entries, container = document.body) {
  const wasMine = anchor.getAttribute('aria-expanded') === 'true';
  closeOpen?.();
  if (wasMine) return;

  const menu = h('div', { class: 'menu', role: 'menu', 'aria-label': label }, ...entries.map((entry) => render(entry, close)));
  container.append(menu);
  place(menu, anchor);
  anchor.setAttribute('aria-expanded', 'true');

  const buttons = /** @type {HTMLButtonElement[]} */ ([...menu.querySelectorAll('button')]);
  const isChoice = buttons.every((button) => button.hasAttribute('aria-checked'));
  const chosen = isChoice ? buttons.find((button) => button.getAttribute('aria-checked') === 'true') : undefined;
  (chosen ?? buttons[0])?.focus();

  /** @param {KeyboardEvent} event */
  function handleKey(event) {
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1 + buttons.length, Home: 0, End: buttons.length - 1 };
    const next = moves[event.key];
    if (next !== undefined) buttons[next % buttons.length]?.focus();
    else if (event.key === 'Escape') close();
    else if (event.key === 'Tab') return close();
    else if (event.key.length === 1 && event.key !== ' ') jump(event.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {string} key */
  function jump(key) {
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const ordered = [...buttons.slice(at + 1), ...buttons.slice(0, at + 1)];
    ordered.find((button) => button.textContent?.trim().toLowerCase().startsWith(key.toLowerCase()))?.focus();
  }

  /** @param {Event} event */
  function handleOutside(event) {
    const target = /** @type {Node} */ (event.target);
    if (!menu.contains(target) && !anchor.contains(target)) close();
  }

  function close() {
    if (closeOpen !== close) return;
    closeOpen = null;
    const hadFocus = menu.contains(document.activeElement);
    menu.remove();
    anchor.setAttribute('aria-expanded', 'false');
    if (hadFocus) anchor.focus();
    document.removeEventListener('pointerdown', handleOutside, true);
    window.removeEventListener('resize', close);
  }

  closeOpen = close;
  menu.addEventListener('keydown', handleKey);
  document.addEventListener('pointerdown', handleOutside, true);
  window.addEventListener('resize', close);
}

/**
 * @param {Entry} entry
 * @param {() => void} close
 */
function render(entry, close) {
  if (entry === 'line') return h('hr', { role: 'separator' });
  if ('heading' in entry) return h('h3', { role: 'presentation' }, entry.heading);
  const isChoice = entry.checked !== undefined;
  return h(
    'button',
    {
      type: 'button',
      role: isChoice ? 'menuitemradio' : 'menuitem',
      'aria-checked': isChoice ? String(entry.checked) : null,
      class: entry.danger ? 'danger' : null,
      onclick: () => {
        close();
        entry.select();
      },
    },
    entry.icon && icon(entry.icon),
    h('span', {}, entry.label),
    entry.detail && h('small', {}, entry.detail),
    entry.checked && icon('check'),
  );
}

/**
 * Below the anchor, or above when there is more room, and never outside the window.
 *
 * @param {HTMLElement} menu
 * @param {HTMLElement} anchor
 */
function place(menu, anchor) {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = window.innerHeight - at.bottom;
  const top = below >= height + 12 || below >= at.top ? at.bottom + 6 : at.top - height - 6;
  const left = at.right - width >= 8 ? at.right - width : at.left;
  menu.style.top = `${Math.max(8, Math.min(top, window.innerHeight - height - 8))}px`;
  menu.style.left = `${Math.max(8, Math.min(left, window.innerWidth - width - 8))}px`;
}
