// @ts-check
/** @file Studio: set up, go live, and keep an eye on it. */

import { Connection, LiveChannel, sendableCodecs } from '../sdk/redred.js';
import { Booth } from './booth.js';
import { Chat } from './chat.js';
import { describe } from './faults.js';
import { attachHeader } from './header.js';
import { formatBitrate, formatClock, t, translatePage } from './i18n.js';
import { displayName, ownStream, slug, tokenSource } from './identity.js';
import { showHealth } from './health.js';
import { floatReactions } from './reactions.js';
import { shareLink, watchUrl } from './share.js';
import { byId, h } from './ui/dom.js';
import { toast } from './ui/toast.js';

/** @typedef {import('../sdk/redred.js').Publisher} Publisher */
/** @typedef {import('../sdk/redred.js').RedredError} RedredError */
/** @typedef {import('../sdk/types.d.ts').Codec} Codec */

const SETUP = 'redred.setup';
/** Set in this tab while it is on air: a reload goes on by itself. */
const ON_AIR = 'redred.on-air';
const BITRATES_BPS = [1_000_000, 2_500_000, 4_500_000, 8_000_000];
const BITRATE_BPS = 2_500_000;
const TAGS_MAX = 5;

const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id));
const query = new URLSearchParams(location.search);

translatePage();
document.title = `${t('studio.title')} – redred`;

/** @type {Connection | null} */
let connection = null;
/** @type {LiveChannel | null} */
let live = null;
/** @type {Publisher | null} */
let publisher = null;
/** @type {string} */
let room = '';

const booth = new Booth(showFault);

/** @param {string | null} text */
function showFault(text) {
  byId('fault').hidden = text === null;
  byId('fault-text').textContent = text ?? '';
}

// The room: comments are there before the stream is, so that people can gather.

/** @param {string} stream */
function enter(stream) {
  if (stream === room) return;
  connection?.close();
  room = stream;
  connection = new Connection({
    token: tokenSource({ publish: [stream], moderate: [stream], watch: ['*'], chat: ['*'] }),
  });
  live = new LiveChannel(connection, stream);
  byId('chat').replaceChildren();
  new Chat(byId('chat'), live);
  live.on('state', (state) => {
    byId('viewers').textContent = t('viewers', { n: state.viewers });
    if (state.live) byId('live-title').textContent = state.title;
  });
  live.on('stream_stats', showHealth);
  live.on('reactions_update', ({ counts }) => floatReactions(byId('floats'), counts));
  live.on('refused', (error) => showFault(describe(error)));
  connection.on('state', ({ state }) => {
    if (publisher === null) showState(state === 'waiting' ? 'offline' : 'ready');
    // The server is gone before the browser notices that nobody takes the media any more.
    else if (state === 'waiting') showState('reconnecting');
    else if (state === 'open' && publisher.state === 'live') showState('live');
  });
  connection.on('closed', ({ code, reason }) => {
    if (publisher === null && code !== 1000) showFault(describe({ code: 'closed', closeCode: code, message: reason }));
  });
  live.subscribe();
  attachHeader(connection);
  connection.connect().catch(() => {});
}

// Going live and ending.

async function goLive() {
  const form = /** @type {HTMLFormElement} */ (byId('setup'));
  if (!form.reportValidity()) return;
  showFault(null);
  busy(true);
  try {
    if (!booth.isReady && !(await booth.open())) return;
    enter(field('stream').value);
    if (!live || !connection) return;
    await connection.connect();
    remember();
    const next = live.publish(booth.media, {
      title: field('title').value.trim() || t('studio.default_title', { name: displayName() }),
      tags: readTags(),
      codec: /** @type {Codec} */ (field('codec').value),
      simulcast: field('simulcast').checked,
      maxBitrateBps: Number(field('bitrate').value),
    });
    publisher = next;
    next.on('state', ({ state, error }) => showPublisher(state, error));
    await booth.attach(next);
    await next.start();
  } catch (error) {
    publisher = null;
    await booth.attach(null);
    showPublisher('idle');
    showFault(describe(error));
  } finally {
    busy(false);
  }
}

async function end() {
  const ending = publisher;
  try {
    await ending?.stop();
    toast(t('studio.ended'));
  } catch (error) {
    showFault(describe(error));
  }
}

/** @param {boolean} isBusy */
function busy(isBusy) {
  /** @type {HTMLButtonElement} */ (byId('go-live')).disabled = isBusy;
}

/**
 * @param {import('../sdk/publisher.js').PublisherState} state
 * @param {RedredError} [error]
 */
function showPublisher(state, error) {
  const isOn = state === 'live' || state === 'reconnecting';
  if (state === 'ended') {
    publisher = null;
    void booth.attach(null);
    if (error) showFault(error.reason && error.code === 'not_found' ? t('studio.ended_elsewhere') : describe(error));
  }
  byId('preview').dataset.state = isOn ? 'live' : 'idle';
  byId('setup').hidden = isOn;
  byId('on-air').hidden = !isOn;
  byId('go-live').hidden = isOn;
  byId('end-stream').hidden = !isOn;
  byId('clock').hidden = !isOn;
  byId('viewers-pill').hidden = !isOn;
  if (isOn) sessionStorage.setItem(ON_AIR, room);
  else if (state !== 'connecting') sessionStorage.removeItem(ON_AIR);
  if (isOn) {
    const url = watchUrl(room);
    const link = /** @type {HTMLAnchorElement} */ (byId('share-url'));
    link.href = url;
    link.textContent = url.replace(/^https?:\/\//, '');
    byId('live-title').textContent = live?.state.title || field('title').value || t('untitled');
  }
  showState(state === 'idle' || state === 'ended' ? 'ready' : state);
}

/** @param {'ready' | 'offline' | 'connecting' | 'live' | 'reconnecting'} state */
function showState(state) {
  const pill = byId('state-pill');
  pill.className = `pill ${state === 'live' ? 'live' : 'glass'}`;
  pill.textContent = t(`studio.state_${state}`);
}

function showClock() {
  const startedAt = live?.state.started_at;
  byId('clock').textContent = startedAt ? formatClock(Date.now() - new Date(startedAt).getTime()) : '';
}

// Set-up.

function readTags() {
  const tags = field('tags').value.split(/[,\s#]+/).map((tag) => tag.trim().slice(0, 24));
  return [...new Set(tags.filter((tag) => tag !== ''))].slice(0, TAGS_MAX);
}

function remember() {
  const setup = Object.fromEntries(['title', 'tags', 'codec', 'bitrate'].map((id) => [id, field(id).value]));
  localStorage.setItem(SETUP, JSON.stringify(setup));
}

function recall() {
  try {
    const setup = JSON.parse(localStorage.getItem(SETUP) ?? '{}');
    for (const id of ['title', 'tags', 'codec', 'bitrate']) {
      if (typeof setup[id] === 'string') field(id).value = setup[id];
    }
  } catch {
    // What another version wrote is not worth a word.
  }
  field('codec').value ||= 'auto';
  field('bitrate').value ||= String(BITRATE_BPS);
}

byId('codec').append(
  ...['auto', ...sendableCodecs()].map((codec) => h('option', { value: codec }, t(`codec.${codec}`))),
);
byId('bitrate').append(...BITRATES_BPS.map((bps) => h('option', { value: bps }, formatBitrate(bps))));
field('bitrate').value = String(BITRATE_BPS);
recall();
const wantedCodec = query.get('codec');
if (wantedCodec) field('codec').value = wantedCodec;
field('stream').value = slug(query.get('stream') ?? '') || ownStream();

byId('go-live').addEventListener('click', () => void goLive());
byId('setup').addEventListener('submit', (event) => {
  event.preventDefault();
  void goLive();
});
byId('end-stream').addEventListener('click', () => void end());
byId('share').addEventListener('click', () => void shareLink(room));
field('stream').addEventListener('change', () => {
  field('stream').value = slug(field('stream').value);
  if (field('stream').value) enter(field('stream').value);
});
window.addEventListener('beforeunload', (event) => {
  if (publisher !== null) event.preventDefault();
});
window.addEventListener('pagehide', () => booth.close());
setInterval(showClock, 1000);

showState('ready');
enter(field('stream').value);
if (sessionStorage.getItem(ON_AIR) === room) void goLive();
