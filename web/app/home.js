// @ts-check
/** @file Home: who is live now, kept up to date by itself. */

import { Connection, listStreams, StreamDirectory } from '../sdk/redred.js';
import { attachHeader } from './header.js';
import { formatSpan, t, translatePage } from './i18n.js';
import { chooseName, chosenName, ownStream, storedToken, tokenSource } from './identity.js';
import { avatar, byId, h, hueOf, icon, initialOf } from './ui/dom.js';

/** @typedef {import('../sdk/types.d.ts').StreamSummary} StreamSummary */

/** How often to ask when the server cannot tell by itself. */
const POLL_MS = 5000;
/** How often the times on the cards move on. */
const AGE_MS = 30_000;

const list = byId('streams');
const nobody = byId('nobody');
const status = byId('connection');
/** @type {StreamSummary[]} */
let streams = [];

/** @param {StreamSummary[]} now */
function show(now) {
  streams = [...now].sort((a, b) => b.viewers - a.viewers || a.id.localeCompare(b.id));
  const focused = document.activeElement?.closest('[data-stream]')?.getAttribute('data-stream');
  list.replaceChildren(...streams.map(renderCard));
  list.removeAttribute('aria-busy');
  list.hidden = streams.length === 0;
  nobody.hidden = streams.length > 0;
  if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-stream="${CSS.escape(focused)}"] a`))?.focus();
}

/** @param {StreamSummary} stream */
function renderCard({ id, title, tags, viewers, streamer, started_at }) {
  const name = streamer?.name ?? id;
  const minutes = Math.max(0, Math.floor((Date.now() - new Date(started_at).getTime()) / 60_000));
  const age = minutes === 0 ? t('home.just_now') : t('home.live_for', { span: formatSpan(minutes * 60) });
  return h(
    'li',
    { class: 'card', 'data-stream': id },
    h(
      'a',
      { href: `/watch/${encodeURIComponent(id)}` },
      h(
        'div',
        { class: 'art', hue: hueOf(id) },
        h('span', { class: 'big', 'aria-hidden': 'true' }, initialOf(name)),
        h('span', { class: 'pill live' }, t('live')),
        h(
          'span',
          { class: 'pill glass', 'aria-label': t('viewers', { n: viewers }) },
          icon('eye'),
          h('span', { 'aria-hidden': 'true' }, t('number', { n: viewers })),
        ),
      ),
      h(
        'div',
        { class: 'about' },
        avatar(name, streamer?.id ?? id),
        h(
          'div',
          {},
          h('h3', { dir: 'auto' }, title || t('untitled')),
          h('p', {}, `${name} · ${age}`),
          tags.length > 0 && h('div', { class: 'tags' }, ...tags.map((tag) => h('span', { class: 'tag' }, tag))),
        ),
      ),
    ),
  );
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let poll;

/** @param {boolean} again */
async function ask(again) {
  clearTimeout(poll);
  try {
    show((await listStreams({ token: storedToken() ?? undefined })).streams);
  } catch {
    // The connection line says what is the matter.
  }
  if (again) poll = setTimeout(() => void ask(true), POLL_MS);
}

translatePage();
const nameInput = /** @type {HTMLInputElement} */ (byId('name-input'));
nameInput.value = chosenName() ?? '';
if (storedToken() !== null) {
  byId('try').hidden = true;
  nameInput.closest('.field')?.setAttribute('hidden', '');
}
byId('start').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = nameInput.value.trim();
  if (name) chooseName(name);
  location.href = `/studio?stream=${encodeURIComponent(ownStream())}`;
});

void ask(false);
setInterval(() => show(streams), AGE_MS);

const connection = new Connection({ token: tokenSource({ watch: ['*'], chat: ['*'] }) });
const directory = new StreamDirectory(connection);
directory.on('update', show);
directory.on('refused', () => void ask(true));
connection.on('state', ({ state }) => {
  status.textContent = state === 'waiting' ? t('reconnecting') : '';
});
connection.on('closed', () => void ask(true));
directory.subscribe();
attachHeader(connection);
connection.connect().catch(() => {});
