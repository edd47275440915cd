// @ts-check
/** @file Going live, and staying live: set-up, track changes, recovery. */

import { RedredError } from './errors.js';
import { MediaEnd } from './media_end.js';
import { Peer } from './peer.js';

/** @typedef {import('./live.js').LiveChannel} LiveChannel */
/** @typedef {import('./types.d.ts').Codec} Codec */
/** @typedef {import('./types.d.ts').MediaKind} MediaKind */

/** How long media may be interrupted before the path is set up anew; a browser recovers from shorter ones by itself. */
const DISCONNECTED_MS = 2_000;
/** How long a connection, or a restart of it, may take before it is given up for a new one. */
const CONNECT_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 10_000;
/** How long another publisher may hold the stream after a break of ours; it may be our own former self. */
const CONFLICT_PATIENCE_MS = 15_000;
/** Enough for 720p of a talking person and of a game without much motion. */
const MAX_BITRATE_BPS = 2_500_000;

/**
 * @typedef {object} PublishOptions
 * @property {string} title
 * @property {string[]} [tags]
 * @property {Codec} [codec] asked for first; `auto` leaves it to the browser
 * @property {boolean} [simulcast] three sizes of the picture, so that every viewer gets one that fits; on by default
 * @property {number} [maxBitrateBps] of the best layer
 */

/** @typedef {'idle' | 'connecting' | 'live' | 'reconnecting' | 'ended'} PublisherState */

/**
 * @typedef {object} PublisherEvents
 * @property {{ state: PublisherState, error?: RedredError }} state `ended` with an error was not our wish
 */

/** @extends {MediaEnd<PublisherState, PublisherEvents>} */
export class Publisher extends MediaEnd {
  #options;
  #media;
  /** @type {Map<MediaKind, MediaStreamTrack>} */
  #tracks = new Map();
  /** @type {Set<MediaKind>} */
  #muted = new Set();
  /** Offers go one after the other. @type {Promise<void>} */
  #negotiation = Promise.resolve();
  /** @type {{ session: string, resolve: (sdp: string) => void, reject: (error: RedredError) => void } | null} */
  #awaited = null;
  #brokenSince = 0;

  /**
   * @param {LiveChannel} live
   * @param {MediaStream} media
   * @param {PublishOptions} options
   */
  constructor(live, media, options) {
    super(live, 'idle');
    this.#media = media;
    this.#options = options;
    for (const track of media.getTracks()) this.#tracks.set(/** @type {MediaKind} */ (track.kind), track);
  }

  /**
   * Goes live. Resolves when media flows; rejects with `conflict` when somebody else is live on this stream.
   */
  async start() {
    if (this.state !== 'idle') throw new RedredError('conflict', 'this publisher was already started');
    this.#listen();
    this._setState('connecting');
    try {
      await this.#publish();
    } catch (error) {
      this._finish();
      this._setState('idle');
      throw error;
    }
  }

  /** Ends the stream for everyone. */
  async stop() {
    if (this.state === 'idle' || this.state === 'ended') return;
    this._finish();
    this._setState('ended');
    await this._live.endStream();
  }

  /**
   * Sends another camera, screen or microphone; viewers see the change without reconnecting. A kind that was not sent
   * before is added.
   *
   * @param {MediaStreamTrack} track
   */
  async replaceTrack(track) {
    const kind = /** @type {MediaKind} */ (track.kind);
    this.#tracks.set(kind, track);
    if (!this._peer) return;
    if (this._peer.hasSender(kind)) {
      if (!this.#muted.has(kind)) await this._peer.replaceTrack(kind, track);
      return;
    }
    this.#addTrack(this._peer, track);
    await this.#negotiate(this._peer);
  }

  /**
   * Stops sending a kind; the camera or microphone itself stays on until its track is stopped.
   *
   * @param {MediaKind} kind
   */
  async mute(kind) {
    this.#muted.add(kind);
    await this._peer?.replaceTrack(kind, null);
  }

  /** @param {MediaKind} kind */
  async unmute(kind) {
    this.#muted.delete(kind);
    await this._peer?.replaceTrack(kind, this.#tracks.get(kind) ?? null);
  }

  /** @param {MediaKind} kind */
  isMuted(kind) {
    return this.#muted.has(kind);
  }

  /** What this browser sends, by its own count; null while nothing is. */
  async stats() {
    return (await this._peer?.senderStats()) ?? null;
  }

  // Set-up.

  async #publish() {
    const attempt = ++this._attempt;
    this._closePeer();
    const { title, tags } = this.#options;
    const { session } = await this._live.startStream({ title, ...(tags && { tags }) });
    if (attempt !== this._attempt) throw new RedredError('closed', 'overtaken by another try');

    const peer = new Peer();
    this._take(peer, session);
    peer.on('candidate', ({ candidate, mid }) => {
      this._live.send('ice_candidate', { candidate, sdp_mid: mid, session });
    });
    for (const track of this.#tracks.values()) this.#addTrack(peer, track);
    for (const kind of this.#muted) await peer.replaceTrack(kind, null);
    const connected = untilConnected(peer);
    connected.catch(() => {});
    await this.#negotiate(peer);
    await connected;
    if (attempt !== this._attempt) throw new RedredError('closed', 'overtaken by another try');

    peer.on('state', (state) => this.#handlePeerState(peer, state));
    this._backoff.reset();
    this.#brokenSince = 0;
    this._setState('live');
  }

  /**
   * @param {Peer} peer
   * @param {MediaStreamTrack} track
   */
  #addTrack(peer, track) {
    const { codec = 'auto', simulcast = true, maxBitrateBps = MAX_BITRATE_BPS } = this.#options;
    peer.addTrack(track, this.#media, { codec, simulcast, maxBitrateBps });
  }

  /**
   * @param {Peer} peer
   * @param {{ iceRestart?: boolean }} [options]
   */
  #negotiate(peer, options) {
    const turn = this.#negotiation.then(async () => {
      if (peer !== this._peer || this._session === null) return;
      const sdp = await peer.createOffer(options);
      await peer.acceptAnswer(await this.#exchange(sdp, this._session));
    });
    this.#negotiation = turn.catch(() => {});
    return turn;
  }

  /**
   * @param {string} sdp
   * @param {string} session
   * @returns {Promise<string>} the answer
   */
  #exchange(sdp, session) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new RedredError('timeout', 'no answer in time', { retryable: true })),
        ANSWER_TIMEOUT_MS,
      );
      const settle = (/** @type {() => void} */ finish) => {
        clearTimeout(timer);
        if (this.#awaited === awaited) this.#awaited = null;
        finish();
      };
      const awaited = {
        session,
        resolve: (/** @type {string} */ answer) => settle(() => resolve(answer)),
        reject: (/** @type {RedredError} */ error) => settle(() => reject(error)),
      };
      this.#awaited = awaited;
      this._live.request('webrtc_offer', { sdp, session }, ANSWER_TIMEOUT_MS).catch((error) => settle(() => reject(error)));
    });
  }

  // Recovery.

  #listen() {
    this._offs = [
      this._live.on('webrtc_answer', ({ sdp, session }) => {
        if (this.#awaited?.session === session) this.#awaited.resolve(sdp);
      }),
      this._live.on('ice_candidate', ({ candidate, sdp_mid, session }) => {
        if (session === this._session) void this._peer?.addCandidate(candidate, sdp_mid);
      }),
      this._live.on('media_closed', ({ session, reason }) => {
        if (session !== this._session || this.state === 'connecting') return;
        if (reason === 'replaced') return this.#end(new RedredError('conflict', 'somebody else took over the stream', { reason }));
        this.#republish();
      }),
      this._live.on('stream_ended', ({ reason }) => {
        // While we are on our way back, the end of the former broadcast is not the end of ours.
        if (this.state === 'live') this.#end(new RedredError('not_found', 'the stream was ended', { reason }));
      }),
      this._live.on('subscribed', ({ resumed }) => {
        if (this.state !== 'live' && this.state !== 'reconnecting') return;
        // A new session knows nothing of the connection that the old one set up.
        if (!resumed || this.state === 'reconnecting') this.#republish();
      }),
      this._live.connection.on('closed', ({ code, reason }) => {
        if (this.state === 'idle' || this.state === 'ended') return;
        this.#end(new RedredError('closed', reason, { closeCode: code }));
      }),
    ];
  }

  /**
   * @param {Peer} peer
   * @param {RTCPeerConnectionState} state
   */
  #handlePeerState(peer, state) {
    if (peer !== this._peer) return;
    clearTimeout(this._timer);
    if (state === 'connected') {
      this.#brokenSince = 0;
      return this._setState('live');
    }
    if (state === 'disconnected') this._timer = setTimeout(() => void this.#restartIce(peer), DISCONNECTED_MS);
    if (state === 'failed') void this.#restartIce(peer);
  }

  /** A new path for the same connection is quicker than a new connection, and viewers notice less. @param {Peer} peer */
  async #restartIce(peer) {
    if (peer !== this._peer) return;
    this._setState('reconnecting');
    // Without a way to the server there is nobody to ask; `subscribed` comes when there is.
    if (!this._live.active) return;
    this._timer = setTimeout(() => this.#republish(), CONNECT_TIMEOUT_MS);
    try {
      await this.#negotiate(peer, { iceRestart: true });
    } catch {
      if (peer === this._peer) this.#republish();
    }
  }

  #republish() {
    if (this.state === 'idle' || this.state === 'ended') return;
    this.#brokenSince ||= Date.now();
    this._setState('reconnecting');
    clearTimeout(this._timer);
    void this.#publish().catch((error) => {
      if (this.state !== 'reconnecting' || error.code === 'closed') return;
      const isTaken = error.code === 'conflict' && Date.now() - this.#brokenSince > CONFLICT_PATIENCE_MS;
      if (isTaken || error.code === 'forbidden') return this.#end(error);
      clearTimeout(this._timer);
      this._timer = setTimeout(() => {
        if (this._live.active) this.#republish();
      }, this._backoff.next());
    });
  }

  /** @param {RedredError} error */
  #end(error) {
    this._finish();
    this._setState('ended', error);
  }

  /** @override */
  _closePeer() {
    this.#awaited?.reject(new RedredError('closed', 'the connection was given up'));
    super._closePeer();
  }
}

/**
 * @param {Peer} peer
 * @returns {Promise<void>}
 */
function untilConnected(peer) {
  return new Promise((resolve, reject) => {
    const fail = () => settle(() => reject(new RedredError('media_failed', 'no way for media was found', { retryable: true })));
    const timer = setTimeout(fail, CONNECT_TIMEOUT_MS);
    const off = peer.on('state', (state) => {
      if (state === 'connected') settle(resolve);
      if (state === 'failed') fail();
    });
    const settle = (/** @type {() => void} */ finish) => {
      clearTimeout(timer);
      off();
      finish();
    };
  });
}
