// @ts-check
/** @file The player: controls over a video element, by pointer, touch and keyboard. */

import { formatClock, t } from './i18n.js';
import { byId, setIcon } from './ui/dom.js';
import { openMenu } from './ui/menu.js';

/** @typedef {import('../sdk/redred.js').Viewer} Viewer */
/** @typedef {import('../sdk/types.d.ts').Layer} Layer */
/** @typedef {import('../sdk/types.d.ts').Quality} Quality */
/** @typedef {import('../sdk/types.d.ts').Track} Track */

/** The controls leave the picture this long after the last move. */
const STILL_MS = 2800;
const VOLUME = 'redred.volume';
const QUALITIES = /** @type {const} */ (['auto', 'high', 'medium', 'low']);

export class Player {
  #root = byId('player');
  #video = /** @type {HTMLVideoElement} */ (byId('video'));
  #volume = /** @type {HTMLInputElement} */ (byId('volume'));
  #viewer;
  /** @type {Layer | null} */
  #layer = null;
  /** @type {Track[]} */
  #tracks = [];
  /** @type {string | null} */
  #startedAt = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #still;
  #wantsSound = true;

  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.#viewer = viewer;
    this.#volume.value = localStorage.getItem(VOLUME) ?? '100';
    this.#video.volume = Number(this.#volume.value) / 100;

    viewer.on('tracks', () => void this.#play());
    viewer.on('quality', ({ layer }) => {
      this.#layer = layer;
      this.#showQuality();
    });
    this.#video.addEventListener('volumechange', () => this.#showSound());
    this.#video.addEventListener('play', () => this.#showPlaying());
    this.#video.addEventListener('pause', () => this.#showPlaying());
    this.#video.addEventListener('resize', () => this.#showQuality());

    byId('play').addEventListener('click', () => this.#togglePlay());
    byId('mute').addEventListener('click', () => this.#toggleMute());
    byId('unmute').addEventListener('click', () => this.#toggleMute());
    this.#volume.addEventListener('input', () => this.#setVolume(Number(this.#volume.value)));
    byId('quality').addEventListener('click', () => this.#openQuality());
    byId('fullscreen').addEventListener('click', () => void this.#toggleFullscreen());
    document.addEventListener('fullscreenchange', () => this.#showFullscreen());
    byId('pip').hidden = !document.pictureInPictureEnabled;
    byId('pip').addEventListener('click', () => void this.#togglePip());
    this.#video.addEventListener('click', () => this.#togglePlay());
    this.#video.addEventListener('dblclick', () => void this.#toggleFullscreen());
    document.addEventListener('keydown', (event) => this.#handleKey(event));
    for (const event of ['pointermove', 'pointerdown', 'focusin']) {
      this.#root.addEventListener(event, () => this.#wake());
    }
    this.#root.addEventListener('pointerleave', () => this.#root.classList.add('still'));
    setInterval(() => this.#showClock(), 1000);
    this.#showSound();
    this.#showQuality();
    this.#wake();
  }

  /** @param {{ tracks: Track[], startedAt: string | null }} stream */
  update({ tracks, startedAt }) {
    this.#tracks = tracks;
    this.#startedAt = startedAt;
    this.#showQuality();
    this.#showClock();
  }

  /** Starts with sound where the browser lets us, else without until somebody taps. */
  async #play() {
    if (this.#viewer.media.getTracks().length === 0) return;
    // Not earlier: an element that waits for its first picture keeps the whole page "loading".
    if (this.#video.srcObject !== this.#viewer.media) this.#video.srcObject = this.#viewer.media;
    try {
      await this.#video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== 'NotAllowedError') return;
      this.#video.muted = true;
      byId('unmute').hidden = false;
      await this.#video.play().catch(() => {});
    }
  }

  #togglePlay() {
    if (this.#video.paused) void this.#play();
    else this.#video.pause();
  }

  #toggleMute() {
    this.#video.muted = !this.#video.muted;
    if (!this.#video.muted && this.#video.volume === 0) this.#setVolume(60);
    byId('unmute').hidden = true;
    this.#wantsSound = !this.#video.muted;
    if (this.#wantsSound && this.#video.paused) void this.#play();
  }

  /** @param {number} percent */
  #setVolume(percent) {
    const value = Math.max(0, Math.min(100, percent));
    this.#volume.value = String(value);
    this.#video.volume = value / 100;
    this.#video.muted = value === 0;
    byId('unmute').hidden = true;
    localStorage.setItem(VOLUME, String(value));
  }

  async #toggleFullscreen() {
    if (document.fullscreenElement) return document.exitFullscreen();
    if (this.#root.requestFullscreen) return this.#root.requestFullscreen().catch(() => {});
    // Phones by Apple know full screen for a video only.
    /** @type {any} */ (this.#video).webkitEnterFullscreen?.();
  }

  async #togglePip() {
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else await this.#video.requestPictureInPicture();
    } catch {
      // There is no picture yet.
    }
  }

  #openQuality() {
    const video = this.#tracks.find(({ kind }) => kind === 'video');
    const layers = video?.layers ?? [];
    openMenu(
      byId('quality'),
      t('watch.quality'),
      QUALITIES.map((quality) => ({
        label: t(`quality.${quality}`),
        detail: sizeOf(layers, quality),
        checked: this.#viewer.quality === quality,
        select: () => {
          void this.#viewer.setQuality(quality).catch(() => {});
          this.#showQuality();
        },
      })),
      this.#root,
    );
  }

  /** @param {KeyboardEvent} event */
  #handleKey(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest('input, textarea, select, [role="menu"], dialog')) return;
    const onButton = target.closest('button, a') !== null;
    if (event.key === 'm') this.#toggleMute();
    else if (event.key === 'f') void this.#toggleFullscreen();
    else if (event.key === 'p') void this.#togglePip();
    else if (event.key === 'k' || (event.key === ' ' && !onButton)) this.#togglePlay();
    else if (event.key === 'ArrowUp' && !target.closest('.comments')) this.#setVolume(Number(this.#volume.value) + 10);
    else if (event.key === 'ArrowDown' && !target.closest('.comments')) this.#setVolume(Number(this.#volume.value) - 10);
    else return;
    event.preventDefault();
    this.#wake();
  }

  #wake() {
    this.#root.classList.remove('still');
    clearTimeout(this.#still);
    this.#still = setTimeout(() => this.#root.classList.add('still'), STILL_MS);
  }

  // Showing.

  #showPlaying() {
    const { paused } = this.#video;
    label('play', paused ? t('watch.play') : t('watch.pause'));
    setIcon(byId('play'), paused ? 'play' : 'pause');
  }

  #showSound() {
    const isSilent = this.#video.muted || this.#video.volume === 0;
    label('mute', isSilent ? t('watch.unmute') : t('watch.mute'));
    byId('mute').setAttribute('aria-pressed', String(isSilent));
    setIcon(byId('mute'), isSilent ? 'volume-off' : 'volume');
    if (this.#video.muted) this.#volume.value = '0';
    else this.#volume.value = String(Math.round(this.#video.volume * 100));
  }

  #showQuality() {
    const height = this.#video.videoHeight || this.#layer?.height || 0;
    const chosen = this.#viewer.quality;
    const name = chosen === 'auto' ? t('quality.auto') : t(`quality.${chosen}`);
    byId('quality-text').textContent = height ? `${height}p` : name;
    label('quality', `${t('watch.quality')}: ${name}${height ? `, ${height}p` : ''}`);
  }

  #showFullscreen() {
    const isFull = document.fullscreenElement !== null;
    label('fullscreen', isFull ? t('watch.fullscreen_exit') : t('watch.fullscreen'));
    setIcon(byId('fullscreen'), isFull ? 'fullscreen-off' : 'fullscreen');
  }

  #showClock() {
    const at = this.#startedAt;
    byId('clock').textContent = at === null ? '' : formatClock(Date.now() - new Date(at).getTime());
  }
}

/**
 * @param {Layer[]} layers lowest first
 * @param {Quality} quality
 */
function sizeOf(layers, quality) {
  const alive = layers.filter(({ height }) => height > 0);
  if (quality === 'auto' || alive.length < 2) return undefined;
  const at = { low: 0, medium: Math.floor((alive.length - 1) / 2), high: alive.length - 1 }[quality];
  return `${alive[at]?.height}p`;
}

/**
 * @param {string} id
 * @param {string} text
 */
function label(id, text) {
  byId(id).setAttribute('aria-label', text);
  byId(id).title = text;
}
