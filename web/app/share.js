// @ts-check
/** @file Passing on the address of a stream. */

import { t } from './i18n.js';
import { toast } from './ui/toast.js';

/** @param {string} stream */
export function watchUrl(stream) {
  return new URL(`/watch/${encodeURIComponent(stream)}`, location.href).href;
}

/**
 * By the phone's own sheet where there is one, else by the clipboard.
 *
 * @param {string} stream
 */
export async function shareLink(stream) {
  const url = watchUrl(stream);
  if (navigator.share && matchMedia('(pointer: coarse)').matches) {
    await navigator.share({ url }).catch(() => {});
    return;
  }
  try {
    await navigator.clipboard.writeText(url);
    toast(t('share_done'));
  } catch {
    toast(url);
  }
}
