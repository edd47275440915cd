// @ts-check
/** @file Reactions that float up over the picture. */

import { h } from './ui/dom.js';

/** More at once would hide the picture. */
const FLOATING_MAX = 24;
const PER_UPDATE_MAX = 8;

/**
 * @param {HTMLElement} layer
 * @param {Record<string, number>} counts of the last half second
 */
export function floatReactions(layer, counts) {
  if (matchMedia('(prefers-reduced-motion: reduce)').matches || document.hidden) return;
  const all = Object.entries(counts).flatMap(([emoji, count]) => Array(Math.min(count, PER_UPDATE_MAX)).fill(emoji));
  for (const emoji of all.slice(0, PER_UPDATE_MAX)) {
    if (layer.childElementCount >= FLOATING_MAX) return;
    const item = h('span', { class: 'floating', onanimationend: () => item.remove() }, emoji);
    item.style.setProperty('--x', `${Math.round(Math.random() * 100)}%`);
    item.style.setProperty('--delay', `${Math.round(Math.random() * 450)}ms`);
    item.style.setProperty('--sway', `${Math.round(Math.random() * 40 - 20)}px`);
    layer.append(item);
  }
}
