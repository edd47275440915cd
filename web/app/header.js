// @ts-check
/** @file The bar on top of every page: unread messages, the bell, and who one is. */

import { Chat, Notifications } from '../sdk/redred.js';
import { Bell, showCount } from './bell.js';
import { t } from './i18n.js';
import { becomeInNewTab, changeName, displayName, ownId, storedToken } from './identity.js';
import { byId } from './ui/dom.js';
import { openMenu } from './ui/menu.js';
import { toast } from './ui/toast.js';

/** @typedef {import('../sdk/redred.js').Connection} Connection */

/** @type {Bell | null} */
let bell = null;

/**
 * Lets the bar live from a connection; from another one when the page changes it.
 *
 * @param {Connection} connection
 * @param {Chat} [chat] the page's own, when it has one
 * @returns {{ chat: Chat, notifications: Notifications }}
 */
export function attachHeader(connection, chat = new Chat(connection)) {
  const notifications = new Notifications(connection);
  if (bell === null) showName();
  bell ??= new Bell(byId('bell'));
  bell.attach(notifications);
  notifications.subscribe();
  chat.inbox.on('state', ({ unread }) => showCount(byId('inbox-link'), byId('inbox-count'), 'bar.inbox', unread));
  chat.inbox.subscribe();
  return { chat, notifications };
}

function showName() {
  if (location.pathname.startsWith('/inbox')) byId('inbox-link').setAttribute('aria-current', 'page');
  const button = byId('name');
  // Elsewhere than in dev mode the token says who one is.
  button.hidden = storedToken() !== null;
  byId('name-text').textContent = displayName();
  button.addEventListener('click', () =>
    openMenu(button, t('identity.menu'), [
      { heading: t('identity.your_id', { id: ownId() }) },
      { label: t('identity.copy_id'), icon: 'copy', select: () => void copyId() },
      { label: t('identity.change'), icon: 'edit', select: () => void changeName() },
      { label: t('identity.other'), icon: 'user-plus', select: () => void becomeInNewTab() },
      'line',
      { label: t('bar.social'), icon: 'spark', select: () => location.assign('/social') },
    ]),
  );
}

async function copyId() {
  try {
    await navigator.clipboard.writeText(ownId());
    toast(t('identity.copied'));
  } catch {
    toast(ownId());
  }
}
