// @ts-check
/** @file Reads what matters out of the many numbers of `getStats`. */

/**
 * @typedef {object} SenderStats
 * @property {number} bitrateBps all layers, audio too
 * @property {number | null} rttMs
 * @property {number} loss 0 to 1, as the server reports it
 * @property {string | null} codec
 * @property {string} limitation what holds the quality back: `none`, `cpu`, `bandwidth`, `other`
 * @property {{ rid: string | null, width: number, height: number, fps: number, bitrateBps: number, scalabilityMode: string | null }[]} layers
 *   lowest first; a layer that is not sent has no size
 */

/**
 * @typedef {object} ReceiverStats
 * @property {number} bitrateBps
 * @property {number | null} rttMs
 * @property {number} loss 0 to 1, over the whole time
 * @property {string | null} codec
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {number} framesDecoded
 * @property {number} freezes
 * @property {number} freezeSeconds
 * @property {number | null} jitterBufferMs how long media waits on average before it is played
 */

/** @typedef {Map<string, { bytes: number, at: number }>} Rates */

/**
 * @param {Rates} rates what was read last time
 * @param {string} key
 * @param {number} bytes
 * @param {number} at milliseconds
 */
function bitrate(rates, key, bytes, at) {
  const last = rates.get(key);
  rates.set(key, { bytes, at });
  if (!last || at <= last.at || bytes < last.bytes) return 0;
  return Math.round(((bytes - last.bytes) * 8 * 1000) / (at - last.at));
}

/** @param {RTCStatsReport} report */
function roundTrip(report) {
  for (const entry of report.values()) {
    if (entry.type !== 'candidate-pair' || !entry.nominated) continue;
    if (typeof entry.currentRoundTripTime === 'number') return entry.currentRoundTripTime * 1000;
  }
  return null;
}

/**
 * @param {RTCStatsReport} report
 * @param {string | undefined} id
 * @returns {string | null}
 */
function codecName(report, id) {
  const mimeType = id === undefined ? undefined : report.get(id)?.mimeType;
  return typeof mimeType === 'string' ? (mimeType.split('/')[1] ?? mimeType) : null;
}

/**
 * @param {RTCStatsReport} report
 * @param {Rates} rates
 * @returns {SenderStats}
 */
export function readSenderStats(report, rates) {
  /** @type {SenderStats} */
  const stats = { bitrateBps: 0, rttMs: roundTrip(report), loss: 0, codec: null, limitation: 'none', layers: [] };
  for (const entry of report.values()) {
    if (entry.type === 'remote-inbound-rtp') {
      stats.loss = Math.max(stats.loss, entry.fractionLost ?? 0);
      if (stats.rttMs === null && typeof entry.roundTripTime === 'number') stats.rttMs = entry.roundTripTime * 1000;
    }
    if (entry.type !== 'outbound-rtp') continue;
    const bitrateBps = bitrate(rates, entry.id, entry.bytesSent ?? 0, entry.timestamp);
    stats.bitrateBps += bitrateBps;
    if (entry.kind !== 'video') continue;
    stats.codec ??= codecName(report, entry.codecId);
    const limitation = entry.qualityLimitationReason;
    if (limitation && limitation !== 'none') stats.limitation = limitation;
    stats.layers.push({
      rid: entry.rid ?? null,
      width: entry.frameWidth ?? 0,
      height: entry.frameHeight ?? 0,
      fps: entry.framesPerSecond ?? 0,
      bitrateBps,
      scalabilityMode: entry.scalabilityMode ?? null,
    });
  }
  stats.layers.sort((a, b) => 'lmh'.indexOf(a.rid ?? 'h') - 'lmh'.indexOf(b.rid ?? 'h'));
  return stats;
}

/**
 * @param {RTCStatsReport} report
 * @param {Rates} rates
 * @returns {ReceiverStats}
 */
export function readReceiverStats(report, rates) {
  /** @type {ReceiverStats} */
  const stats = {
    bitrateBps: 0,
    rttMs: roundTrip(report),
    loss: 0,
    codec: null,
    width: 0,
    height: 0,
    fps: 0,
    framesDecoded: 0,
    freezes: 0,
    freezeSeconds: 0,
    jitterBufferMs: null,
  };
  let lost = 0;
  let received = 0;
  for (const entry of report.values()) {
    if (entry.type !== 'inbound-rtp') continue;
    stats.bitrateBps += bitrate(rates, entry.id, entry.bytesReceived ?? 0, entry.timestamp);
    lost += Math.max(0, entry.packetsLost ?? 0);
    received += entry.packetsReceived ?? 0;
    if (entry.kind !== 'video') continue;
    stats.codec ??= codecName(report, entry.codecId);
    stats.width = entry.frameWidth ?? stats.width;
    stats.height = entry.frameHeight ?? stats.height;
    stats.fps = entry.framesPerSecond ?? stats.fps;
    stats.framesDecoded += entry.framesDecoded ?? 0;
    stats.freezes += entry.freezeCount ?? 0;
    stats.freezeSeconds += entry.totalFreezesDuration ?? 0;
    if (entry.jitterBufferEmittedCount) {
      stats.jitterBufferMs = (entry.jitterBufferDelay / entry.jitterBufferEmittedCount) * 1000;
    }
  }
  if (lost + received > 0) stats.loss = lost / (lost + received);
  return stats;
}
