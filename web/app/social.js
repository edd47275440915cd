// @ts-check
/** @file Social: stands in for the application whose likes, comments and follows become notifications. */

import { Connection } from '../sdk/redred.js';
import { describe } from './faults.js';
import { attachHeader } from './header.js';
import { t, translatePage } from './i18n.js';
import { displayName, ownId, tokenSource } from './identity.js';
import { byId, h } from './ui/dom.js';
import { toast } from './ui/toast.js';

/** @typedef {import('../sdk/types.d.ts').User} User */

/** People who are glad to like anything. */
const PEOPLE = [
  ...['Lucía', 'Marco', 'Aiko', 'Sam', 'Noor', 'Elif', 'Jonas', 'Zoé', 'Mateo', 'Ines', 'Kofi', 'Lena', 'Ravi'],
  ...['Sofía', 'Tom', 'Yara', 'Emil', 'Paula', 'Hana', 'Leo', 'Mira', 'Otto', 'Vera', 'Nico', 'Ana'],
];
const CROWD = 'crowd';
const POST = 'post-1';

const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id));

/** @param {string} name @returns {User} */
function person(name) {
  return { id: `demo-${name.normalize('NFD').replace(/[^A-Za-z]/g, '').toLowerCase()}`, name };
}

/** Who acts now: one person, or all of them. @returns {User[]} */
function actors() {
  const { value } = field('actor');
  if (value === CROWD) return PEOPLE.map(person);
  return value === '' ? [{ id: ownId(), name: displayName() }] : [person(value)];
}

/**
 * What the application would ask for.
 *
 * @param {string} kind
 * @param {string} message
 * @param {User} actor
 */
function notificationOf(kind, message, actor) {
  const isAboutPost = kind !== 'follow';
  const to = field('to').value.trim() || ownId();
  return {
    user_ids: [to],
    kind,
    message,
    actor,
    target: isAboutPost ? { type: 'post', id: POST, path: '/social' } : { type: 'user', id: actor.id },
    // What each person says stands for itself; what they only count for folds.
    ...(kind !== 'comment' && { group_key: isAboutPost ? `${kind}:${POST}` : kind }),
  };
}

/**
 * @param {string} kind
 * @param {string} message
 */
async function act(kind, message) {
  if (!field('to').reportValidity()) return;
  showCode(kind, message);
  let accepted = 0;
  try {
    for (const actor of actors()) {
      const answer = await connection.call('POST', '/api/v1/notifications', {
        body: notificationOf(kind, message, actor),
        headers: { 'Idempotency-Key': `${kind}-${Date.now()}-${actor.id}` },
      });
      accepted += answer.accepted;
    }
    byId('result').textContent = t('social.sent', { n: accepted });
  } catch (error) {
    toast(describe(error));
  }
}

/**
 * @param {string} kind
 * @param {string} message
 */
function showCode(kind, message) {
  const [actor = person('Ana')] = actors();
  const body = JSON.stringify(notificationOf(kind, message, actor), null, 2);
  byId('code').textContent = [
    `curl ${location.origin}/api/v1/notifications \\`,
    "  -H 'Authorization: Bearer <API key>' \\",
    "  -H 'Content-Type: application/json' \\",
    `  -H 'Idempotency-Key: ${kind}-${POST}-${actor.id}' \\`,
    `  -d '${body}'`,
  ].join('\n');
}

function showPost() {
  byId('post-heading').textContent = t('social.post_by', { id: field('to').value.trim() || ownId() });
}

/**
 * @param {(stream: string) => Promise<unknown>} change
 * @param {string} done
 */
async function changeStream(change, done) {
  if (!field('stream').reportValidity()) return;
  const stream = field('stream').value.trim();
  try {
    await change(stream);
    toast(t(done, { name: stream }));
  } catch (error) {
    toast(describe(error));
  }
}

translatePage();
document.title = `${t('social.title')} – redred`;
byId('actor').append(
  ...['Lucía', 'Marco', 'Aiko'].map((name) => h('option', { value: name }, name)),
  h('option', { value: CROWD }, t('social.crowd')),
  h('option', { value: '' }, displayName()),
);
field('to').value = ownId();
field('comment-text').value = t('social.comment_text');
byId('to-hint').textContent = t('social.to_hint', { id: ownId() });

const connection = new Connection({ token: tokenSource({ watch: ['*'], chat: ['*'] }) });
const { notifications } = attachHeader(connection);
byId('to').addEventListener('input', showPost);
byId('like').addEventListener('click', () => void act('like', 'liked your post'));
byId('follow').addEventListener('click', () => void act('follow', 'started following you'));
byId('comment-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = field('comment-text').value.trim();
  if (text) void act('comment', text);
});
byId('stream-form').addEventListener('submit', (event) => {
  event.preventDefault();
  void changeStream((stream) => notifications.follow(stream), 'social.followed');
});
byId('stream-unfollow').addEventListener('click', () => void changeStream((stream) => notifications.unfollow(stream), 'social.unfollowed'));

showPost();
showCode('like', 'liked your post');
connection.connect().catch(() => {});
