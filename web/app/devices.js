// @ts-check
/** @file Cameras, microphones and screens, and why one cannot be had. */

import { RedredError } from '../sdk/redred.js';

/** @typedef {'camera' | 'microphone' | 'screen'} Source */

/** What a picture of a given height asks of the camera; the browser takes the nearest it has. */
const PICTURE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 60 } };
const SOUND = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * @param {'camera' | 'microphone'} source
 * @param {string} [deviceId]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openDevice(source, deviceId) {
  const base = source === 'camera' ? PICTURE : SOUND;
  const constraints = deviceId ? { ...base, deviceId: { exact: deviceId } } : base;
  const media = await guarded(source, () =>
    navigator.mediaDevices.getUserMedia(source === 'camera' ? { video: constraints } : { audio: constraints }),
  );
  return onlyTrack(media, source);
}

/** @returns {Promise<MediaStreamTrack>} */
export async function openScreen() {
  const media = await guarded('screen', () =>
    navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 30 } }, audio: false }),
  );
  const track = onlyTrack(media, 'screen');
  // Text must stay sharp; a few frames less are not noticed.
  track.contentHint = 'detail';
  return track;
}

/** @returns {Promise<{ cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[] }>} */
export async function listDevices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return {
    cameras: all.filter(({ kind }) => kind === 'videoinput'),
    microphones: all.filter(({ kind }) => kind === 'audioinput'),
  };
}

/** Whether camera or microphone may be opened without a question. */
export async function isPermitted() {
  try {
    const states = await Promise.all(
      ['camera', 'microphone'].map((name) => navigator.permissions.query({ name: /** @type {PermissionName} */ (name) })),
    );
    return states.some(({ state }) => state === 'granted');
  } catch {
    // Not every browser answers; then the user is asked by a click.
    return false;
  }
}

/** @param {MediaStream} media @param {Source} source */
function onlyTrack(media, source) {
  const track = media.getTracks()[0];
  if (!track) throw new RedredError(`no_${source}`, `the browser gave no ${source}`);
  return track;
}

/**
 * @param {Source} source
 * @param {() => Promise<MediaStream>} open
 */
async function guarded(source, open) {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    throw new RedredError('insecure_context', 'cameras and microphones work on https or localhost only');
  }
  try {
    return await open();
  } catch (error) {
    throw new RedredError(codeOf(source, error), String(error));
  }
}

/**
 * @param {Source} source
 * @param {unknown} error
 */
function codeOf(source, error) {
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotFoundError':
    case 'OverconstrainedError':
      return `no_${source}`;
    case 'NotAllowedError':
      return source === 'screen' ? 'screen_dismissed' : `${source}_denied`;
    case 'NotReadableError':
    case 'AbortError':
      return 'device_busy';
    case 'SecurityError':
      return 'insecure_context';
    default:
      return `no_${source}`;
  }
}
