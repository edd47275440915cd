// @ts-check
/** @file Watching a stream, and going on watching it: set-up, quality, recovery, waiting for the next start. */

import { RedredError } from './errors.js';
import { MediaEnd } from './media_end.js';
import { Peer } from './peer.js';

/** @typedef {import('./live.js').LiveChannel} LiveChannel */
/** @typedef {import('./types.d.ts').Quality} Quality */
/** @typedef {import('./types.d.ts').QualityChanged} QualityChanged */
/** @typedef {import('./types.d.ts').WatchUnavailable} WatchUnavailable */

/** How long media may be interrupted before the stream is asked for anew. */
const DISCONNECTED_MS = 3_000;
/** How long set-up may take before it is tried again. */
const CONNECT_TIMEOUT_MS = 12_000;

/**
 * @typedef {object} WatchOptions
 * @property {Quality} [quality]
 * @property {boolean} [audioOnly]
 */

/** @typedef {'idle' | 'offline' | 'connecting' | 'playing' | 'reconnecting' | 'stopped'} ViewerState */

/**
 * @typedef {object} ViewerEvents
 * @property {{ state: ViewerState, error?: RedredError }} state `offline` waits for the stream; `stopped` with an error
 *   was not our wish
 * @property {MediaStream} tracks what there is to play has changed
 * @property {QualityChanged} quality
 * @property {WatchUnavailable} unavailable a track that this browser cannot decode
 */

/** @extends {MediaEnd<ViewerState, ViewerEvents>} */
export class Viewer extends MediaEnd {
  #quality;
  #audioOnly;
  /** Offers and candidates go one after the other. @type {Promise<void>} */
  #turn = Promise.resolve();

  /**
   * @param {LiveChannel} live
   * @param {WatchOptions} [options]
   */
  constructor(live, options = {}) {
    super(live, 'idle');
    this.#quality = options.quality ?? 'auto';
    this.#audioOnly = options.audioOnly ?? false;
    /** Give it to a video element once: its tracks come and go, it stays. */
    this.media = new MediaStream();
  }

  get quality() {
    return this.#quality;
  }

  /** Watches from now on, through breaks and pauses, until `stop()`. */
  start() {
    if (this.state !== 'idle' && this.state !== 'stopped') return;
    this.#listen();
    this._setState('connecting');
    if (this._live.active) this.#watch();
  }

  stop() {
    if (this.state === 'idle' || this.state === 'stopped') return;
    this._finish();
    this._setState('stopped');
    if (this._live.active) this._live.send('stop_watching', {});
  }

  /** @param {Quality} quality */
  async setQuality(quality) {
    this.#quality = quality;
    if (this._session !== null) await this._live.request('set_quality', { quality });
  }

  /** What arrives; null while nothing does. */
  async stats() {
    return (await this._peer?.receiverStats()) ?? null;
  }

  // Set-up. The server offers: it knows which tracks there are.

  #watch() {
    const attempt = ++this._attempt;
    clearTimeout(this._timer);
    this._closePeer();
    if (!this._live.state.live) return this.#rest();
    this._setState(this.state === 'playing' || this.state === 'reconnecting' ? 'reconnecting' : 'connecting');
    this._timer = setTimeout(() => this.#again(), CONNECT_TIMEOUT_MS);
    const data = { quality: this.#quality, ...(this.#audioOnly && { audio_only: true }) };
    this._live.request('watch', data).catch((error) => {
      if (attempt === this._attempt) this.#handleRefusal(error);
    });
  }

  /** @param {RedredError} error */
  #handleRefusal(error) {
    if (error.code === 'disconnected' || error.code === 'closed') return;
    if (error.code === 'forbidden') {
      this._finish();
      return this._setState('stopped', error);
    }
    if (error.code === 'not_found' && !this._live.state.live) return this.#rest();
    this.#again();
  }

  /** Nothing to watch now; `stream_started` wakes us. */
  #rest() {
    this._attempt += 1;
    clearTimeout(this._timer);
    this._closePeer();
    this.#syncTracks();
    this._backoff.reset();
    this._setState('offline');
  }

  /**
   * @param {string} sdp
   * @param {string} session
   */
  async #handleOffer(sdp, session) {
    if (session !== this._session) {
      this._closePeer();
      this._take(this.#newPeer(session), session);
    }
    const peer = this._peer;
    if (!peer) return;
    const answer = await peer.acceptOffer(sdp);
    if (peer !== this._peer) return;
    await this._live.request('webrtc_answer', { sdp: answer, session });
    if (peer === this._peer) this.#syncTracks();
  }

  /** @param {string} session */
  #newPeer(session) {
    const peer = new Peer();
    peer.on('candidate', ({ candidate, mid }) => {
      this._live.send('ice_candidate', { candidate, sdp_mid: mid, session });
    });
    peer.on('state', (state) => {
      if (peer === this._peer) this.#handlePeerState(state);
    });
    return peer;
  }

  #syncTracks() {
    const tracks = this._peer?.receivedTracks() ?? [];
    const gone = this.media.getTracks().filter((track) => !tracks.includes(track));
    const added = tracks.filter((track) => !this.media.getTracks().includes(track));
    for (const track of gone) this.media.removeTrack(track);
    for (const track of added) this.media.addTrack(track);
    if (gone.length + added.length > 0) this.emit('tracks', this.media);
  }

  // Recovery.

  #listen() {
    const live = this._live;
    this._offs = [
      live.on('webrtc_offer', ({ sdp, session }) => {
        this.#inTurn(() => this.#handleOffer(sdp, session));
      }),
      live.on('ice_candidate', ({ candidate, sdp_mid, session }) => {
        this.#inTurn(async () => {
          if (session === this._session) await this._peer?.addCandidate(candidate, sdp_mid);
        });
      }),
      live.on('media_closed', ({ session, reason }) => {
        if (session !== this._session) return;
        if (reason === 'stream_ended') return this.#rest();
        this.#again();
      }),
      live.on('stream_started', () => {
        if (this.state === 'offline') this.#watch();
      }),
      live.on('stream_ended', () => this.#rest()),
      live.on('subscribed', ({ resumed }) => {
        const isHealthy = resumed && this._peer?.state === 'connected' && live.state.live;
        if (!isHealthy) this.#watch();
      }),
      live.on('refused', (error) => {
        this._finish();
        this._setState('stopped', error);
      }),
      live.on('quality_changed', (change) => this.emit('quality', change)),
      live.on('watch_unavailable', (what) => this.emit('unavailable', what)),
      live.connection.on('closed', ({ code, reason }) => {
        this._finish();
        this._setState('stopped', new RedredError('closed', reason, { closeCode: code }));
      }),
    ];
  }

  /** @param {() => Promise<void>} work */
  #inTurn(work) {
    this.#turn = this.#turn.then(work).catch((error) => {
      console.warn('watching failed, trying again', error);
      if (error?.code !== 'disconnected' && error?.code !== 'closed') this.#again();
    });
  }

  /** @param {RTCPeerConnectionState} state */
  #handlePeerState(state) {
    if (state === 'connected') {
      clearTimeout(this._timer);
      this._backoff.reset();
      this._setState('playing');
    }
    if (state === 'disconnected') {
      clearTimeout(this._timer);
      this._setState('reconnecting');
      this._timer = setTimeout(() => this.#again(), DISCONNECTED_MS);
    }
    if (state === 'failed') this.#again();
  }

  /** Asks for the stream once more, after a wait that grows. */
  #again() {
    if (this.state === 'stopped' || this.state === 'idle') return;
    this._attempt += 1;
    clearTimeout(this._timer);
    if (this.state !== 'offline') this._setState('reconnecting');
    // Without a way to the server there is nobody to ask; `subscribed` comes when there is.
    if (!this._live.active) return;
    this._timer = setTimeout(() => this.#watch(), this._backoff.next());
  }

  /** @override */
  _finish() {
    super._finish();
    this.#syncTracks();
  }
}
