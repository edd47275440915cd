// @ts-check
/** @file Watch: the picture and the comments of one stream. */

import { CloseCode, Connection, LiveChannel } from '../sdk/redred.js';
import { Chat } from './chat.js';
import { describe } from './faults.js';
import { attachHeader } from './header.js';
import { t, translatePage } from './i18n.js';
import { tokenSource } from './identity.js';
import { Player } from './player.js';
import { floatReactions } from './reactions.js';
import { shareLink } from './share.js';
import { byId, h, hueOf, initialOf } from './ui/dom.js';
import { toast } from './ui/toast.js';

/** @typedef {import('../sdk/types.d.ts').LiveState} LiveState */
/** @typedef {import('../sdk/redred.js').RedredError} RedredError */

const stream = decodeURIComponent(location.pathname.split('/')[2] ?? '');
const root = byId('player');

translatePage();
byId('share').addEventListener('click', () => void shareLink(stream));

const connection = new Connection({ token: tokenSource({ watch: ['*'], chat: ['*'] }) });
const live = new LiveChannel(connection, stream);
const viewer = live.watch();
const player = new Player(viewer);
new Chat(byId('chat'), live);

/** What was done to us, for the words after the connection is closed. @type {'kick' | 'ban' | null} */
let removedBy = null;
/** Why there is no picture although the stream is live. @type {string | null} */
let undecodable = null;
/** The end of a broadcast seen by us is worth more words than a stream that was never on. */
let hasEnded = false;

/** @param {LiveState} state */
function showStream(state) {
  const name = state.streamer?.name ?? stream;
  const title = state.title || t('untitled');
  document.title = `${state.live ? '● ' : ''}${state.live ? title : name} – redred`;
  byId('title').textContent = state.live ? title : name;
  byId('streamer').textContent = state.live ? name : t('watch.offline_short');
  const avatar = byId('streamer-avatar');
  avatar.textContent = initialOf(name);
  avatar.style.setProperty('--hue', String(hueOf(state.streamer?.id ?? stream)));
  byId('tags').replaceChildren(...state.tags.map((tag) => h('span', { class: 'tag' }, tag)));
  const count = t('number', { n: state.viewers });
  byId('viewers').textContent = count;
  byId('viewers-unit').textContent = t('viewers', { n: state.viewers }).replace(count, '');
  byId('viewers-pill').setAttribute('aria-label', t('viewers', { n: state.viewers }));
  byId('viewers-pill').hidden = !state.live;
  root.dataset.live = String(state.live);
  player.update({ tracks: state.tracks, startedAt: state.started_at });
}

/**
 * @param {string} state of the player, for its looks
 * @param {{ title?: string, text?: string, icon?: string | null, actions?: HTMLElement[] }} [cover]
 */
function showCover(state, { title = '', text = '', icon = null, actions = [] } = {}) {
  root.dataset.state = state;
  byId('spinner').hidden = icon !== null;
  const picture = document.getElementById('cover-icon');
  picture?.toggleAttribute('hidden', icon === null);
  if (icon) picture?.querySelector('use')?.setAttribute('href', `/app/icons.svg#${icon}`);
  byId('status').textContent = title;
  byId('status-text').textContent = text;
  byId('cover-actions').replaceChildren(...actions);
}

/** @param {string} text */
function reloadButton(text) {
  return h('button', { type: 'button', class: 'button', onclick: () => location.reload() }, text);
}

function homeLink() {
  return h('a', { class: 'button', href: '/' }, t('watch.others'));
}

/** @param {RedredError | undefined} error */
function showStopped(error) {
  const isBanned = removedBy === 'ban' || error?.reason === 'banned';
  if (isBanned) {
    return showCover('stopped', { title: t('watch.banned'), text: t('watch.banned_text'), icon: 'ban', actions: [homeLink()] });
  }
  if (removedBy === 'kick' || error?.closeCode === CloseCode.REMOVED) {
    return showCover('stopped', {
      title: t('watch.kicked'),
      text: t('watch.kicked_text'),
      icon: 'exit',
      actions: [reloadButton(t('watch.come_back')), homeLink()],
    });
  }
  if (error?.closeCode === CloseCode.REPLACED) {
    return showCover('stopped', {
      title: t('watch.replaced'),
      text: t('fault.replaced'),
      icon: 'swap',
      actions: [reloadButton(t('watch.here'))],
    });
  }
  return showCover('stopped', { title: describe(error), icon: 'warning', actions: [reloadButton(t('try_again')), homeLink()] });
}

/** The picture as the server and the browser know it now. */
function showPicture() {
  const { live: isLive, tracks } = live.state;
  if (undecodable !== null) {
    return showCover('unavailable', {
      title: t('watch.undecodable'),
      text: t('watch.undecodable_text', { codec: undecodable.toUpperCase() }),
      icon: 'warning',
    });
  }
  const video = tracks.filter(({ kind }) => kind === 'video');
  if (isLive && tracks.length > 0 && video.every(({ muted }) => muted)) {
    const hasSound = tracks.some(({ kind, muted }) => kind === 'audio' && !muted);
    return showCover('audio', {
      title: t(video.length > 0 ? 'watch.camera_off' : 'watch.audio_only'),
      text: hasSound ? t('watch.audio_text') : '',
      icon: video.length > 0 ? 'camera-off' : 'headphones',
    });
  }
  return showCover('playing');
}

/** @param {{ state: import('../sdk/viewer.js').ViewerState, error?: RedredError }} change */
function showViewer({ state, error }) {
  switch (state) {
    case 'connecting':
      return showCover('connecting', { title: t('watch.connecting') });
    case 'reconnecting':
      return showCover('reconnecting', { title: t('reconnecting') });
    case 'offline':
      return showCover('offline', {
        title: hasEnded ? t('watch.ended') : t('watch.offline', { name: live.state.streamer?.name ?? stream }),
        text: t('watch.offline_text'),
        icon: 'moon',
        actions: [homeLink()],
      });
    case 'playing':
      return showPicture();
    case 'stopped':
      return showStopped(error);
    default:
  }
}

live.on('state', (state) => {
  showStream(state);
  if (viewer.state === 'playing') showPicture();
});
live.on('stream_ended', () => {
  hasEnded = true;
});
live.on('stream_started', () => {
  hasEnded = false;
  undecodable = null;
});
live.on('reactions_update', ({ counts }) => floatReactions(byId('floats'), counts));
live.on('user_moderated', ({ user_id, action, reason }) => {
  if (user_id !== connection.session?.user_id) return;
  if (action === 'kick' || action === 'ban') removedBy = action;
  if (action === 'timeout') toast(reason ? t('watch.timeout_reason', { reason }) : t('watch.timeout'));
});
viewer.on('state', showViewer);
viewer.on('unavailable', ({ kind, codec }) => {
  if (kind !== 'video') return toast(t('watch.no_sound', { codec }));
  undecodable = codec;
  if (viewer.state === 'playing') showPicture();
});
connection.on('state', ({ state, delayMs }) => {
  if (state !== 'waiting') return;
  // Media goes on without the server's ear for a while; say so only where nothing plays.
  if (viewer.state === 'playing') return;
  showCover('reconnecting', { title: t('watch.server_gone'), text: (delayMs ?? 0) > 3000 ? t('watch.server_gone_text') : '' });
});

showStream(live.state);
showCover('connecting', { title: t('watch.connecting') });
live.subscribe();
attachHeader(connection);
viewer.start();
connection.connect().catch(() => {});
