// @ts-check
/** @file Who uses the page: a name in dev mode, a token everywhere else. */

import { devToken, readClaims, RedredError } from '../sdk/redred.js';
import { t } from './i18n.js';
import { ask } from './ui/dialog.js';

/** @typedef {NonNullable<import('../sdk/token.js').Claims['grants']>} Grants */
/** @typedef {import('../sdk/types.d.ts').TokenRequest} TokenRequest */

const NAME = 'redred.name';
const SUB = 'redred.sub';
const TOKEN = 'redred.token';

/** Where the name and the id are kept: for the whole device, or for this tab when it is to be somebody else. */
function keep() {
  return sessionStorage.getItem(SUB) === null ? localStorage : sessionStorage;
}

/** The name that was chosen, or null. */
export function chosenName() {
  return keep().getItem(NAME);
}

/** @param {string} name */
export function chooseName(name) {
  keep().setItem(NAME, name.slice(0, 64));
}

/** Makes this tab, and only this tab, somebody else: `?as=Ben` in the address of any page. */
function takePersona() {
  const query = new URLSearchParams(location.search);
  const name = query.get('as')?.trim().slice(0, 64);
  if (!name || !slug(name)) return;
  sessionStorage.setItem(SUB, slug(name));
  sessionStorage.setItem(NAME, name);
  query.delete('as');
  const rest = query.toString();
  history.replaceState(null, '', location.pathname + (rest && `?${rest}`) + location.hash);
}

/** The name to go by: the token's, the chosen one, or a guest's that stays the same on this device. */
export function displayName() {
  const token = storedToken();
  const claims = token === null ? null : readClaims(token);
  return claims?.name ?? claims?.sub ?? chosenName() ?? t('identity.guest', { id: sub().slice(-4) });
}

/** Our user id: the token's, or in dev mode the one that this browser or this tab has. */
export function ownId() {
  const token = storedToken();
  return (token === null ? null : readClaims(token)?.sub) ?? sub();
}

/** The id of this browser, or of this tab, in dev mode. */
function sub() {
  let id = keep().getItem(SUB);
  if (!id) {
    id = `u-${[...crypto.getRandomValues(new Uint8Array(5))].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
    localStorage.setItem(SUB, id);
  }
  return id;
}

/** The token that came with `#token=` or was pasted; it lives as long as the tab. */
export function storedToken() {
  const fragment = new URLSearchParams(location.hash.slice(1)).get('token');
  if (fragment) {
    sessionStorage.setItem(TOKEN, fragment);
    // Out of the address bar: it must not be shared with a copied link.
    history.replaceState(null, '', location.pathname + location.search);
  }
  return sessionStorage.getItem(TOKEN);
}

/** A name that can be part of an address. @param {string} name */
export function slug(name) {
  const plain = name
    .normalize('NFD')
    .replace(/[\u0300-\u036f]/g, '')
    .toLowerCase();
  return plain.replace(/[^a-z0-9_.-]+/g, '-').replace(/^[-.]+|[-.]+$/g, '').slice(0, 64);
}

/** The stream that this person publishes: the one the token names, or one made of the name. */
export function ownStream() {
  const token = storedToken();
  const publish = token === null ? undefined : readClaims(token)?.grants?.publish;
  const named = publish?.find((stream) => stream !== '*');
  return named ?? (slug(chosenName() ?? '') || sub());
}

/**
 * Provides tokens to a connection. In dev mode the server makes one for whoever asks; elsewhere the user brings one.
 *
 * @param {Grants} grants what the page needs
 * @returns {(request: TokenRequest) => Promise<string>}
 */
export function tokenSource(grants) {
  return async ({ purpose }) => {
    const stored = storedToken();
    if (stored !== null && !(purpose === 'refresh' && isSpent(stored))) return stored;
    try {
      const { token } = await devToken({ name: displayName(), sub: sub(), grants });
      return token;
    } catch (error) {
      if (error instanceof RedredError && error.retryable) throw error;
    }
    return askForToken(stored !== null);
  };
}

/** @param {string} token */
function isSpent(token) {
  const exp = readClaims(token)?.exp;
  return exp !== undefined && exp * 1000 < Date.now() + 30_000;
}

/** @type {Promise<string> | null} */
let asking = null;

/** @param {boolean} isSpent whether there was one that no longer holds */
function askForToken(isSpent) {
  asking ??= ask({
    title: t('identity.token_title'),
    text: isSpent ? t('identity.token_spent') : t('identity.token_text'),
    label: t('identity.token_label'),
    hint: t('identity.token_hint'),
    multiline: true,
    required: true,
    accept: t('identity.token_accept'),
    fault: (value) => (readClaims(value) === null ? t('identity.token_fault') : null),
  }).then((token) => {
    asking = null;
    sessionStorage.setItem(TOKEN, token ?? '');
    return token ?? '';
  });
  return asking;
}

/** Lets the user choose another name, and begins the page anew under it. */
export async function changeName() {
  const name = await ask({
    title: t('identity.name_title'),
    label: t('identity.name_label'),
    hint: t('identity.name_hint'),
    value: chosenName() ?? '',
    maxLength: 64,
    accept: t('identity.name_accept'),
    fault: (value) => (value === '' ? t('identity.name_fault') : null),
  });
  if (name === null || name === chosenName()) return;
  chooseName(name);
  location.reload();
}

/** Opens the inbox as somebody else, to see both sides of a conversation. */
export async function becomeInNewTab() {
  const name = await ask({
    title: t('identity.other_title'),
    text: t('identity.other_text'),
    label: t('identity.other_label'),
    maxLength: 64,
    accept: t('identity.other_accept'),
    fault: (value) => (slug(value) === '' ? t('identity.name_fault') : null),
  });
  if (name !== null) window.open(`/inbox?as=${encodeURIComponent(name)}`, '_blank', 'noopener');
}

if (globalThis.location) takePersona();
