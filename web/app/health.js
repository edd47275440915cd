// @ts-check
/** @file How the stream fares, as the server sees it. */

import { formatBitrate, language, t } from './i18n.js';
import { byId, h } from './ui/dom.js';

/** @typedef {import('../sdk/types.d.ts').StreamStats} StreamStats */

/** Above these a viewer notices. */
const LOSS_FAIR = 0.02;
const LOSS_POOR = 0.08;
const RTT_FAIR_MS = 200;
const RTT_POOR_MS = 500;

/** @param {StreamStats} stats */
export function showHealth({ bitrate, fps, rtt_ms, loss, layers }) {
  byId('stat-bitrate').textContent = formatBitrate(bitrate);
  byId('stat-fps').textContent = String(Math.round(fps));
  byId('stat-rtt').textContent = rtt_ms === null || rtt_ms === undefined ? '–' : `${Math.round(rtt_ms)} ms`;
  byId('stat-loss').textContent = new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: 1 }).format(loss);

  const health = grade(loss, rtt_ms ?? 0);
  byId('health-pill').dataset.health = health;
  const text = t(`studio.health_${health}`);
  if (byId('health-pill').textContent !== text) byId('health-pill').textContent = text;

  const most = Math.max(1, ...layers.map(({ bitrate_bps }) => bitrate_bps));
  byId('layers').replaceChildren(
    ...[...layers].reverse().map((layer) =>
      h(
        'li',
        {},
        h('span', {}, layer.height ? `${layer.width}×${layer.height}` : (layer.rid ?? '–')),
        h('progress', { max: most, value: layer.bitrate_bps, 'aria-label': t('studio.bitrate') }),
        h('span', {}, formatBitrate(layer.bitrate_bps)),
      ),
    ),
  );
}

/**
 * @param {number} loss
 * @param {number} rttMs
 */
function grade(loss, rttMs) {
  if (loss > LOSS_POOR || rttMs > RTT_POOR_MS) return 'poor';
  if (loss > LOSS_FAIR || rttMs > RTT_FAIR_MS) return 'fair';
  return 'good';
}
