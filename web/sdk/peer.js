// @ts-check
/** @file One WebRTC connection. The only file of the project's web side that calls WebRTC. */

import { RedredError } from './errors.js';
import { Emitter } from './events.js';
import { readReceiverStats, readSenderStats } from './stats.js';

/** @typedef {import('./types.d.ts').Codec} Codec */
/** @typedef {import('./types.d.ts').MediaKind} MediaKind */
/** @typedef {import('./stats.js').SenderStats} SenderStats */
/** @typedef {import('./stats.js').ReceiverStats} ReceiverStats */

/**
 * @typedef {object} PeerEvents
 * @property {{ candidate: string | null, mid: string | null }} candidate one of ours; null ends them
 * @property {RTCPeerConnectionState} state
 */

/**
 * @typedef {object} SenderOptions
 * @property {Codec} codec
 * @property {boolean} simulcast
 * @property {number} maxBitrateBps of the best layer
 */

/**
 * The three simulcast layers, lowest first: each has half the width and height of the next, and about a quarter of its
 * bits. A browser sends fewer of them when the picture is too small to halve twice.
 */
const SIMULCAST = [
  { rid: 'l', scaleResolutionDownBy: 4, share: 0.08 },
  { rid: 'm', scaleResolutionDownBy: 2, share: 0.28 },
  { rid: 'h', scaleResolutionDownBy: 1, share: 1 },
];

/** @extends {Emitter<PeerEvents>} */
export class Peer extends Emitter {
  #pc;
  /** @type {Map<MediaKind, RTCRtpTransceiver>} */
  #senders = new Map();
  /** Candidates that came before the description they belong to. @type {RTCIceCandidateInit[]} */
  #early = [];
  /** @type {Map<string, { bytes: number, at: number }>} */
  #rates = new Map();

  constructor() {
    super();
    if (typeof RTCPeerConnection === 'undefined') {
      throw new RedredError('not_supported', 'this browser has no WebRTC');
    }
    this.#pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.#pc.onicecandidate = ({ candidate }) => {
      // An empty candidate ends those of one generation; null follows it and ends them all.
      if (candidate && !candidate.candidate) return;
      this.emit('candidate', { candidate: candidate?.candidate ?? null, mid: candidate?.sdpMid ?? null });
    };
    this.#pc.onconnectionstatechange = () => this.emit('state', this.#pc.connectionState);
  }

  get state() {
    return this.#pc.connectionState;
  }

  // Sending.

  /**
   * Sends a track, which takes an offer to come into force.
   *
   * @param {MediaStreamTrack} track
   * @param {MediaStream} stream what it belongs to: tracks of one stream are played in step
   * @param {SenderOptions} options
   */
  addTrack(track, stream, options) {
    const kind = /** @type {MediaKind} */ (track.kind);
    /** @type {RTCRtpTransceiverInit} */
    const init = { direction: 'sendonly', streams: [stream] };
    if (kind === 'video') init.sendEncodings = encodings(options);
    const transceiver = this.#pc.addTransceiver(track, init);
    if (kind === 'video') preferCodec(transceiver, options.codec);
    this.#senders.set(kind, transceiver);
  }

  /** @param {MediaKind} kind */
  hasSender(kind) {
    return this.#senders.has(kind);
  }

  /**
   * Sends another track in place of the present one, or none for now, without negotiation.
   *
   * @param {MediaKind} kind
   * @param {MediaStreamTrack | null} track
   */
  async replaceTrack(kind, track) {
    await this.#senders.get(kind)?.sender.replaceTrack(track);
  }

  /**
   * @param {{ iceRestart?: boolean }} [options]
   * @returns {Promise<string>} the SDP of an offer, already set as the local description
   */
  async createOffer(options = {}) {
    await this.#pc.setLocalDescription(await this.#pc.createOffer({ iceRestart: options.iceRestart }));
    return this.#pc.localDescription?.sdp ?? '';
  }

  /** @param {string} sdp */
  async acceptAnswer(sdp) {
    await this.#pc.setRemoteDescription({ type: 'answer', sdp });
    await this.#addEarlyCandidates();
  }

  // Receiving.

  /**
   * @param {string} sdp an offer
   * @returns {Promise<string>} the SDP of the answer, already set as the local description
   */
  async acceptOffer(sdp) {
    await this.#pc.setRemoteDescription({ type: 'offer', sdp });
    await this.#addEarlyCandidates();
    await this.#pc.setLocalDescription();
    return this.#pc.localDescription?.sdp ?? '';
  }

  /** What the other side sends us now: at most one track of each kind, the newest. @returns {MediaStreamTrack[]} */
  receivedTracks() {
    /** @type {Map<string, MediaStreamTrack>} */
    const tracks = new Map();
    for (const { currentDirection, receiver } of this.#pc.getTransceivers()) {
      if (currentDirection !== 'recvonly' && currentDirection !== 'sendrecv') continue;
      if (receiver.track.readyState === 'live') tracks.set(receiver.track.kind, receiver.track);
    }
    return [...tracks.values()];
  }

  // Both.

  /**
   * @param {string | null} candidate null or empty: there are no more
   * @param {string | null} mid
   */
  async addCandidate(candidate, mid) {
    const init = candidate ? { candidate, sdpMid: mid ?? '0' } : { candidate: '', sdpMid: mid ?? '0' };
    if (!this.#pc.remoteDescription) {
      this.#early.push(init);
      return;
    }
    await this.#add(init);
  }

  async #addEarlyCandidates() {
    for (const init of this.#early.splice(0)) await this.#add(init);
  }

  /** A candidate that this browser cannot read is one way less, not an end. @param {RTCIceCandidateInit} init */
  async #add(init) {
    try {
      await this.#pc.addIceCandidate(init);
    } catch (error) {
      console.warn('a candidate was ignored', error);
    }
  }

  /** @returns {Promise<SenderStats>} */
  async senderStats() {
    return readSenderStats(await this.#pc.getStats(), this.#rates);
  }

  /** @returns {Promise<ReceiverStats>} */
  async receiverStats() {
    return readReceiverStats(await this.#pc.getStats(), this.#rates);
  }

  close() {
    this.#pc.onicecandidate = null;
    this.#pc.onconnectionstatechange = null;
    this.#pc.close();
  }
}

/**
 * Codecs that this browser can send.
 *
 * @returns {Exclude<Codec, 'auto'>[]}
 */
export function sendableCodecs() {
  if (typeof RTCRtpSender === 'undefined') return [];
  const known = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
  return /** @type {const} */ (['vp8', 'vp9', 'h264', 'av1']).filter((codec) =>
    known.some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`),
  );
}

/**
 * @param {SenderOptions} options
 * @returns {RTCRtpEncodingParameters[]}
 */
function encodings({ codec, simulcast, maxBitrateBps }) {
  // VP9 and AV1 send all three only when each is asked to be a single spatial layer; the others need no hint.
  const scalability = codec === 'vp9' || codec === 'av1' ? { scalabilityMode: 'L1T3' } : {};
  if (!simulcast) return [{ maxBitrate: maxBitrateBps, ...scalability }];
  return SIMULCAST.map(({ rid, scaleResolutionDownBy, share }) => ({
    rid,
    scaleResolutionDownBy,
    maxBitrate: Math.round(maxBitrateBps * share),
    ...scalability,
  }));
}

/**
 * Puts one codec first; the others stay, for a server that does not take it.
 *
 * @param {RTCRtpTransceiver} transceiver
 * @param {Codec} codec
 */
function preferCodec(transceiver, codec) {
  if (codec === 'auto' || typeof transceiver.setCodecPreferences !== 'function') return;
  const all = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
  const isWanted = (/** @type {{ mimeType: string }} */ { mimeType }) => mimeType.toLowerCase() === `video/${codec}`;
  if (!all.some(isWanted)) throw new RedredError('not_supported', `this browser cannot send ${codec}`);
  transceiver.setCodecPreferences([...all.filter(isWanted), ...all.filter((other) => !isWanted(other))]);
}
