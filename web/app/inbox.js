// @ts-check
/** @file Inbox: the list of conversations and the one that is open, each with an address of its own. */

import { Chat, Connection } from '../sdk/redred.js';
import { describe } from './inbox/faults.js';
import { attachHeader } from './header.js';
import { t, translatePage } from './i18n.js';
import { ownId, tokenSource } from './identity.js';
import { Conversation } from './inbox/conversation.js';
import { openNewChat } from './inbox/new_chat.js';
import { RoomList } from './inbox/rooms.js';
import { byId, h, icon } from './ui/dom.js';
import { toast } from './ui/toast.js';

/** @typedef {import('../sdk/types.d.ts').Message} Message */

translatePage();

const connection = new Connection({ token: tokenSource({ watch: ['*'], chat: ['*'] }), store: sessionStorage });
const chat = new Chat(connection);
const list = new RoomList(byId('rooms'), byId('search'), chat, open);
/** @type {Conversation | null} */
let conversation = null;

/**
 * @param {string} room
 * @param {Message} [message] to be shown in it
 */
function open(room, message) {
  if (conversation?.room.id !== room) {
    history.pushState(null, '', `/inbox/${encodeURIComponent(room)}`);
    show();
  }
  if (message) void conversation?.showMessage(message);
  else conversation?.focus();
}

function back() {
  history.pushState(null, '', '/inbox');
  show();
  byId('search').focus();
}

/** What the address says. */
function show() {
  const room = decodeURIComponent(location.pathname.split('/')[2] ?? '');
  if (conversation?.room.id === room) return;
  conversation?.close();
  conversation = room ? new Conversation(byId('conversation'), chat, room, back) : null;
  if (!room) byId('conversation').replaceChildren(renderNothing());
  document.body.classList.toggle('reading', room !== '');
  list.select(room);
}

function renderNothing() {
  return h(
    'div',
    { class: 'nothing' },
    icon('chat'),
    h('h2', {}, t('inbox.nothing_title')),
    h('p', {}, t('inbox.nothing_text')),
    h('button', { type: 'button', class: 'button primary', onclick: () => openNewChat(chat, open) }, icon('plus'), h('span', {}, t('inbox.new'))),
  );
}

/** An invitation in the address: `/inbox?to=<user>`. */
async function followInvitation() {
  const user = new URLSearchParams(location.search).get('to');
  if (!user) return;
  history.replaceState(null, '', '/inbox');
  if (user === ownId()) return toast(t('people.self'));
  try {
    open((await chat.createRoom({ kind: 'direct', members: [user] })).id);
  } catch (error) {
    toast(describe(error));
  }
}

attachHeader(connection, chat);
byId('new-chat').addEventListener('click', () => openNewChat(chat, open));
// A notification that leads to a conversation need not load the page again.
byId('bell').addEventListener('follow', (event) => {
  const { detail } = /** @type {CustomEvent<string>} */ (event);
  if (!detail.startsWith('/inbox/')) return;
  event.preventDefault();
  open(decodeURIComponent(detail.split('/')[2] ?? ''));
});
window.addEventListener('popstate', show);
window.addEventListener('beforeunload', (event) => {
  if (conversation && conversation.room.unsent > 0) event.preventDefault();
});
chat.inbox.on('state', ({ unread }) => {
  document.title = `${unread > 0 ? `(${unread}) ` : ''}${t('inbox.title')} – redred`;
});
document.title = `${t('inbox.title')} – redred`;

show();
connection.connect().then(followInvitation, () => {});
