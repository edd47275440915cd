// @ts-check
/** @file What went wrong in a conversation, in words for people. */

import { describe as describeAny } from '../faults.js';
import { t } from '../i18n.js';

/** @param {unknown} error */
export function describe(error) {
  const { code } = /** @type {{ code?: string }} */ (error ?? {});
  return code === 'conflict' ? t('inbox.conflict') : describeAny(error);
}
