// @ts-check
/** @file Watching a stream, and going on watching it: set-up, quality, recovery, waiting for the next start. */

import { Backoff } from './backoff.js';
import { RedredError } from './errors.js';
import { Emitter } from './events.js';
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

/** @extends {Emitter<ViewerEvents>} */
export class Viewer extends Emitter {
  #live;
  #quality;
  #audioOnly;
  /** @type {ViewerState} */
  #state = 'idle';
  /** @type {Peer | null} */
  #peer = null;
  /** @type {string | null} */
  #session = null;
  /** Offers and candidates go one after the other. @type {Promise<void>} */
  #turn = Promise.resolve();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #backoff = new Backoff();
  #attempt = 0;
  /** @type {(() => void)[]} */
  #offs = [];

  /**
   * @param {LiveChannel} live
   * @param {WatchOptions} [options]
   */
  constructor(live, options = {}) {
    super();
    this.#live = live;
    this.#quality = options.quality ?? 'auto';
    this.#audioOnly = options.audioOnly ?? false;
    /** Give it to a video element once: its tracks come and go, it stays. */
    this.media = new MediaStream();
  }

  get state() {
    return this.#state;
  }

  get quality() {
    return this.#quality;
  }

  /** Watches from now on, through breaks and pauses, until `stop()`. */
  start() {
    if (this.#state !== 'idle' && this.#state !== 'stopped') return;
    this.#listen();
    this.#setState('connecting');
    if (this.#live.active) this.#watch();
  }

  stop() {
    if (this.#state === 'idle' || this.#state === 'stopped') return;
    this.#finish();
    this.#setState('stopped');
    if (this.#live.active) this.#live.send('stop_watching', {});
  }

  /** @param {Quality} quality */
  async setQuality(quality) {
    this.#quality = quality;
    if (this.#session !== null) await this.#live.request('set_quality', { quality });
  }

  /** What arrives; null while nothing does. */
  async stats() {
    return (await this.#peer?.receiverStats()) ?? null;
  }

  // Set-up. The server offers: it knows which tracks there are.

  #watch() {
    const attempt = ++this.#attempt;
    clearTimeout(this.#timer);
    this.#closePeer();
    if (!this.#live.state.live) return this.#rest();
    this.#setState(this.#state === 'playing' || this.#state === 'reconnecting' ? 'reconnecting' : 'connecting');
    this.#timer = setTimeout(() => this.#again(), CONNECT_TIMEOUT_MS);
    const data = { quality: this.#quality, ...(this.#audioOnly && { audio_only: true }) };
    this.#live.request('watch', data).catch((error) => {
      if (attempt === this.#attempt) this.#handleRefusal(error);
    });
  }

  /** @param {RedredError} error */
  #handleRefusal(error) {
    if (error.code === 'disconnected' || error.code === 'closed') return;
    if (error.code === 'forbidden') {
      this.#finish();
      return this.#setState('stopped', error);
    }
    if (error.code === 'not_found' && !this.#live.state.live) return this.#rest();
    this.#again();
  }

  /** Nothing to watch now; `stream_started` wakes us. */
  #rest() {
    this.#attempt += 1;
    clearTimeout(this.#timer);
    this.#closePeer();
    this.#syncTracks();
    this.#backoff.reset();
    this.#setState('offline');
  }

  /**
   * @param {string} sdp
   * @param {string} session
   */
  async #handleOffer(sdp, session) {
    if (session !== this.#session) {
      this.#closePeer();
      this.#session = session;
      this.#peer = this.#newPeer(session);
    }
    const peer = this.#peer;
    if (!peer) return;
    const answer = await peer.acceptOffer(sdp);
    if (peer !== this.#peer) return;
    await this.#live.request('webrtc_answer', { sdp: answer, session });
    if (peer === this.#peer) this.#syncTracks();
  }

  /** @param {string} session */
  #newPeer(session) {
    const peer = new Peer();
    peer.on('candidate', ({ candidate, mid }) => {
      this.#live.send('ice_candidate', { candidate, sdp_mid: mid, session });
    });
    peer.on('state', (state) => {
      if (peer === this.#peer) this.#handlePeerState(state);
    });
    return peer;
  }

  #syncTracks() {
    const tracks = this.#peer?.receivedTracks() ?? [];
    const gone = this.media.getTracks().filter((track) => !tracks.includes(track));
    const added = tracks.filter((track) => !this.media.getTracks().includes(track));
    for (const track of gone) this.media.removeTrack(track);
    for (const track of added) this.media.addTrack(track);
    if (gone.length + added.length > 0) this.emit('tracks', this.media);
  }

  // Recovery.

  #listen() {
    const live = this.#live;
    this.#offs = [
      live.on('webrtc_offer', ({ sdp, session }) => {
        this.#inTurn(() => this.#handleOffer(sdp, session));
      }),
      live.on('ice_candidate', ({ candidate, sdp_mid, session }) => {
        this.#inTurn(async () => {
          if (session === this.#session) await this.#peer?.addCandidate(candidate, sdp_mid);
        });
      }),
      live.on('media_closed', ({ session, reason }) => {
        if (session !== this.#session) return;
        if (reason === 'stream_ended') return this.#rest();
        this.#again();
      }),
      live.on('stream_started', () => {
        if (this.#state === 'offline') this.#watch();
      }),
      live.on('stream_ended', () => this.#rest()),
      live.on('subscribed', ({ resumed }) => {
        const isHealthy = resumed && this.#peer?.state === 'connected' && live.state.live;
        if (!isHealthy) this.#watch();
      }),
      live.on('refused', (error) => {
        this.#finish();
        this.#setState('stopped', error);
      }),
      live.on('quality_changed', (change) => this.emit('quality', change)),
      live.on('watch_unavailable', (what) => this.emit('unavailable', what)),
      live.connection.on('closed', ({ code, reason }) => {
        this.#finish();
        this.#setState('stopped', new RedredError('closed', reason, { closeCode: code }));
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
      clearTimeout(this.#timer);
      this.#backoff.reset();
      this.#setState('playing');
    }
    if (state === 'disconnected') {
      clearTimeout(this.#timer);
      this.#setState('reconnecting');
      this.#timer = setTimeout(() => this.#again(), DISCONNECTED_MS);
    }
    if (state === 'failed') this.#again();
  }

  /** Asks for the stream once more, after a wait that grows. */
  #again() {
    if (this.#state === 'stopped' || this.#state === 'idle') return;
    this.#attempt += 1;
    clearTimeout(this.#timer);
    if (this.#state !== 'offline') this.#setState('reconnecting');
    // Without a way to the server there is nobody to ask; `subscribed` comes when there is.
    if (!this.#live.active) return;
    this.#timer = setTimeout(() => this.#watch(), this.#backoff.next());
  }

  #finish() {
    this.#attempt += 1;
    clearTimeout(this.#timer);
    for (const off of this.#offs) off();
    this.#offs = [];
    this.#closePeer();
    this.#syncTracks();
  }

  #closePeer() {
    this.#peer?.close();
    this.#peer = null;
    this.#session = null;
  }

  /**
   * @param {ViewerState} state
   * @param {RedredError} [error]
   */
  #setState(state, error) {
    if (state === this.#state) return;
    this.#state = state;
    this.emit('state', { state, error });
  }
}
