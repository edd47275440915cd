// @ts-check
/** @file Building elements without a framework. */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @param {string} tag
 * @param {Record<string, any>} [props] `class`, `data-*`, `aria-*` and other attributes; functions named `onclick` and
 *   so on listen; `hue` sets the custom property; false, null and undefined leave an attribute out
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (name === 'hue') element.style.setProperty('--hue', String(value));
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter(isShown).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/**
 * @param {Child} child
 * @returns {child is Node | string | number}
 */
function isShown(child) {
  return child !== null && child !== undefined && child !== false;
}

/**
 * An element that the page is known to have.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return /** @type {E} */ (element);
}

/**
 * @param {string} name a symbol of icons.svg
 * @returns {SVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `/app/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/**
 * Changes the symbol of an icon that is already there.
 *
 * @param {Element} within
 * @param {string} name
 */
export function setIcon(within, name) {
  within.querySelector('.icon use')?.setAttribute('href', `/app/icons.svg#${name}`);
}

/**
 * The same colour for the same name, everywhere: from blue over violet and red to orange, which go with the accent.
 *
 * @param {string} name
 */
export function hueOf(name) {
  let hash = 2166136261;
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16777619);
  return (250 + ((hash >>> 0) % 180)) % 360;
}

/** @param {string} name */
export function initialOf(name) {
  return [...name.trim()][0] ?? '?';
}

/**
 * @param {string} name
 * @param {string} id what the colour hangs on
 * @returns {HTMLElement}
 */
export function avatar(name, id) {
  return h('span', { class: 'avatar', hue: hueOf(id), 'aria-hidden': 'true' }, initialOf(name));
}
