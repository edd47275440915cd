// @ts-check
/** @file Going live, and staying live: set-up, track changes, recovery. */

import { Backoff } from './backoff.js';
import { RedredError } from './errors.js';
import { Emitter } from './events.js';
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

/** @extends {Emitter<PublisherEvents>} */
export class Publisher extends Emitter {
  #live;
  #options;
  #media;
  /** @type {PublisherState} */
  #state = 'idle';
  /** @type {Peer | null} */
  #peer = null;
  /** @type {string | null} */
  #session = null;
  /** @type {Map<MediaKind, MediaStreamTrack>} */
  #tracks = new Map();
  /** @type {Set<MediaKind>} */
  #muted = new Set();
  /** Offers go one after the other. @type {Promise<void>} */
  #negotiation = Promise.resolve();
  /** @type {{ session: string, resolve: (sdp: string) => void, reject: (error: RedredError) => void } | null} */
  #awaited = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #backoff = new Backoff();
  #brokenSince = 0;
  #attempt = 0;
  /** @type {(() => void)[]} */
  #offs = [];

  /**
   * @param {LiveChannel} live
   * @param {MediaStream} media
   * @param {PublishOptions} options
   */
  constructor(live, media, options) {
    super();
    this.#live = live;
    this.#media = media;
    this.#options = options;
    for (const track of media.getTracks()) this.#tracks.set(/** @type {MediaKind} */ (track.kind), track);
  }

  get state() {
    return this.#state;
  }

  /**
   * Goes live. Resolves when media flows; rejects with `conflict` when somebody else is live on this stream.
   */
  async start() {
    if (this.#state !== 'idle') throw new RedredError('conflict', 'this publisher was already started');
    this.#listen();
    this.#setState('connecting');
    try {
      await this.#publish();
    } catch (error) {
      this.#finish();
      this.#setState('idle');
      throw error;
    }
  }

  /** Ends the stream for everyone. */
  async stop() {
    if (this.#state === 'idle' || this.#state === 'ended') return;
    this.#finish();
    this.#setState('ended');
    await this.#live.endStream();
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
    if (!this.#peer) return;
    if (this.#peer.hasSender(kind)) {
      if (!this.#muted.has(kind)) await this.#peer.replaceTrack(kind, track);
      return;
    }
    this.#addTrack(this.#peer, track);
    await this.#negotiate(this.#peer);
  }

  /**
   * Stops sending a kind; the camera or microphone itself stays on until its track is stopped.
   *
   * @param {MediaKind} kind
   */
  async mute(kind) {
    this.#muted.add(kind);
    await this.#peer?.replaceTrack(kind, null);
  }

  /** @param {MediaKind} kind */
  async unmute(kind) {
    this.#muted.delete(kind);
    await this.#peer?.replaceTrack(kind, this.#tracks.get(kind) ?? null);
  }

  /** @param {MediaKind} kind */
  isMuted(kind) {
    return this.#muted.has(kind);
  }

  /** What this browser sends, by its own count; null while nothing is. */
  async stats() {
    return (await this.#peer?.senderStats()) ?? null;
  }

  // Set-up.

  async #publish() {
    const attempt = ++this.#attempt;
    this.#closePeer();
    const { title, tags } = this.#options;
    const { session } = await this.#live.startStream({ title, ...(tags && { tags }) });
    if (attempt !== this.#attempt) throw new RedredError('closed', 'overtaken by another try');

    const peer = new Peer();
    this.#peer = peer;
    this.#session = session;
    peer.on('candidate', ({ candidate, mid }) => {
      this.#live.send('ice_candidate', { candidate, sdp_mid: mid, session });
    });
    for (const track of this.#tracks.values()) this.#addTrack(peer, track);
    for (const kind of this.#muted) await peer.replaceTrack(kind, null);
    const connected = untilConnected(peer);
    connected.catch(() => {});
    await this.#negotiate(peer);
    await connected;
    if (attempt !== this.#attempt) throw new RedredError('closed', 'overtaken by another try');

    peer.on('state', (state) => this.#handlePeerState(peer, state));
    this.#backoff.reset();
    this.#brokenSince = 0;
    this.#setState('live');
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
      if (peer !== this.#peer || this.#session === null) return;
      const sdp = await peer.createOffer(options);
      await peer.acceptAnswer(await this.#exchange(sdp, this.#session));
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
      this.#live.request('webrtc_offer', { sdp, session }, ANSWER_TIMEOUT_MS).catch((error) => settle(() => reject(error)));
    });
  }

  // Recovery.

  #listen() {
    this.#offs = [
      this.#live.on('webrtc_answer', ({ sdp, session }) => {
        if (this.#awaited?.session === session) this.#awaited.resolve(sdp);
      }),
      this.#live.on('ice_candidate', ({ candidate, sdp_mid, session }) => {
        if (session === this.#session) void this.#peer?.addCandidate(candidate, sdp_mid);
      }),
      this.#live.on('media_closed', ({ session, reason }) => {
        if (session !== this.#session || this.#state === 'connecting') return;
        if (reason === 'replaced') return this.#end(new RedredError('conflict', 'somebody else took over the stream', { reason }));
        this.#republish();
      }),
      this.#live.on('stream_ended', ({ reason }) => {
        // While we are on our way back, the end of the former broadcast is not the end of ours.
        if (this.#state === 'live') this.#end(new RedredError('not_found', 'the stream was ended', { reason }));
      }),
      this.#live.on('subscribed', ({ resumed }) => {
        if (this.#state !== 'live' && this.#state !== 'reconnecting') return;
        // A new session knows nothing of the connection that the old one set up.
        if (!resumed || this.#state === 'reconnecting') this.#republish();
      }),
      this.#live.connection.on('closed', ({ code, reason }) => {
        if (this.#state === 'idle' || this.#state === 'ended') return;
        this.#end(new RedredError('closed', reason, { closeCode: code }));
      }),
    ];
  }

  /**
   * @param {Peer} peer
   * @param {RTCPeerConnectionState} state
   */
  #handlePeerState(peer, state) {
    if (peer !== this.#peer) return;
    clearTimeout(this.#timer);
    if (state === 'connected') {
      this.#brokenSince = 0;
      return this.#setState('live');
    }
    if (state === 'disconnected') this.#timer = setTimeout(() => void this.#restartIce(peer), DISCONNECTED_MS);
    if (state === 'failed') void this.#restartIce(peer);
  }

  /** A new path for the same connection is quicker than a new connection, and viewers notice less. @param {Peer} peer */
  async #restartIce(peer) {
    if (peer !== this.#peer) return;
    this.#setState('reconnecting');
    // Without a way to the server there is nobody to ask; `subscribed` comes when there is.
    if (!this.#live.active) return;
    this.#timer = setTimeout(() => this.#republish(), CONNECT_TIMEOUT_MS);
    try {
      await this.#negotiate(peer, { iceRestart: true });
    } catch {
      if (peer === this.#peer) this.#republish();
    }
  }

  #republish() {
    if (this.#state === 'idle' || this.#state === 'ended') return;
    this.#brokenSince ||= Date.now();
    this.#setState('reconnecting');
    clearTimeout(this.#timer);
    void this.#publish().catch((error) => {
      if (this.#state !== 'reconnecting' || error.code === 'closed') return;
      const isTaken = error.code === 'conflict' && Date.now() - this.#brokenSince > CONFLICT_PATIENCE_MS;
      if (isTaken || error.code === 'forbidden') return this.#end(error);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        if (this.#live.active) this.#republish();
      }, this.#backoff.next());
    });
  }

  /** @param {RedredError} error */
  #end(error) {
    this.#finish();
    this.#setState('ended', error);
  }

  #finish() {
    this.#attempt += 1;
    clearTimeout(this.#timer);
    for (const off of this.#offs) off();
    this.#offs = [];
    this.#closePeer();
  }

  #closePeer() {
    this.#awaited?.reject(new RedredError('closed', 'the connection was given up'));
    this.#peer?.close();
    this.#peer = null;
    this.#session = null;
  }

  /**
   * @param {PublisherState} state
   * @param {RedredError} [error]
   */
  #setState(state, error) {
    if (state === this.#state) return;
    this.#state = state;
    this.emit('state', { state, error });
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
