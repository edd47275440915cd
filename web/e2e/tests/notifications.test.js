// The bell: what comes while one looks and while one does not, folded, read, muted.

import assert from 'node:assert/strict';

import { publisherPage } from '../harness/media.js';
import { enter, fits, hears, isAccessible, person, picture, startDirect, write } from '../harness/pages.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'notifications' });

const NAMES = ['Lucía', 'Marco', 'Aiko', 'Sam', 'Noor', 'Elif', 'Jonas', 'Zoé', 'Mateo', 'Ines', 'Kofi', 'Lena', 'Ravi'];
const count = (page, text) => page.waitForSelector(`#bell-count:visible:text-is("${text}")`, { timeout: 15_000 });
const quiet = (page) => page.waitForSelector('#bell-count', { state: 'hidden', timeout: 15_000 });
const notes = (page) => page.locator('#bell-list .note .what').allTextContents();

async function ring(page) {
  await page.click('#bell');
  await page.waitForSelector('#bell-list .note, #bell-list .bell-empty');
}

/** What an application's own code would do. */
async function notify(server, about) {
  const token = await server.token({ sub: 'app', name: 'App', grants: { admin: true } });
  const answer = await server.post('/api/v1/notifications', about, { authorization: `Bearer ${token}` });
  assert.equal(answer.status, 202, await answer.clone().text());
  return answer.json();
}

const like = (user, n) => ({
  user_ids: [user],
  kind: 'like',
  message: 'liked your post',
  actor: { id: `fan-${n}`, name: NAMES[n % NAMES.length] },
  target: { type: 'post', id: '7' },
  group_key: 'like:post:7',
});

scenario('a like storm folds into one line, live and after a reload', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Ana', '/');
  await ana.waitForSelector('#bell');
  await ring(ana);
  await ana.waitForSelector('.bell-empty');
  await isAccessible(ana, 'bell, empty');
  for (let n = 0; n < 13; n += 1) await notify(server, like('ana', n));
  await ana.waitForSelector('.note:has-text("and 12 others liked your post")');
  assert.equal(await ana.locator('#bell-list .note').count(), 1);
  await count(ana, '1');
  await ana.reload();
  await count(ana, '1');
  await ring(ana);
  assert.deepEqual(await notes(ana), ['Ravi and 12 others liked your post']);
});

scenario('who was away finds everything; reading shows on every device', async ({ server, open }) => {
  for (let n = 0; n < 3; n += 1) await notify(server, like('alba', n));
  await notify(server, { user_ids: ['alba'], kind: 'comment', message: 'Where was that?', actor: { id: 'sam', name: 'Sam' } });
  await notify(server, { user_ids: ['alba'], kind: 'follow', message: 'started following you', actor: { id: 'noor', name: 'Noor' } });
  const [one, two] = await Promise.all([person(open, server.url, 'Alba', '/'), person(open, server.url, 'Alba', '/inbox')]);
  for (const page of [one, two]) await count(page, '3');
  await ring(one);
  await ring(two);
  assert.deepEqual(await notes(one), ['Noor started following you', 'Sam commented on your post', 'Aiko and 2 others liked your post']);
  await one.click('.note[data-kind="comment"]');
  for (const page of [one, two]) await count(page, '2');
  await two.waitForSelector('.note.read[data-kind="comment"]');
  await two.click('#bell-read-all');
  for (const page of [one, two]) await quiet(page);
  assert.equal(await two.locator('.note.unread').count(), 0);
  // Once read, the next like begins a new line.
  await notify(server, like('alba', 5));
  await count(two, '1');
  await until('a new line', async () => (await notes(two))[0] === 'Elif liked your post');
});

scenario('a message is notified to who does not look at it, and leads there', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Ada');
  await startDirect(ana, 'bob');
  const bob = await person(open, server.url, 'Bob', '/');
  await bob.waitForSelector('#bell');
  await write(ana, 'Are you there?');
  await count(bob, '1');
  await bob.waitForSelector('#inbox-count:has-text("1")');
  await ring(bob);
  await bob.click('.note:has-text("Ada")');
  await bob.waitForURL(/\/inbox\//);
  await hears(bob, 'Are you there?');
  await quiet(bob);
  await write(ana, 'Good to see you');
  await hears(bob, 'Good to see you');
  await write(bob, 'Here I am');
  await hears(ana, 'Here I am');
  await ring(bob);
  assert.equal(await bob.locator('.note').count(), 1, 'nobody is told of what they are looking at');
});

scenario('what is muted is not stored, and quiet hours are kept', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Arne', '/social');
  await ring(ana);
  await ana.click('#bell-settings');
  await ana.waitForSelector('dialog');
  await isAccessible(ana, 'preferences');
  await ana.uncheck('dialog input[value="like"]');
  await ana.check('#quiet');
  await ana.fill('#quiet-from', '23:15');
  await ana.fill('#quiet-to', '06:45');
  await ana.click('dialog .button.primary');
  await ana.waitForSelector('.toast:has-text("saved")');
  assert.deepEqual(await notify(server, like('arne', 1)), { accepted: 0 });
  await ana.reload();
  await ring(ana);
  await ana.waitForSelector('.bell-empty');
  await ana.click('#bell-settings');
  await ana.waitForSelector('dialog');
  assert.equal(await ana.isChecked('dialog input[value="like"]'), false);
  assert.equal(await ana.inputValue('#quiet-from'), '23:15');
  assert.equal(await ana.inputValue('#quiet-to'), '06:45');
});

scenario('followers are told when a stream goes live', async ({ server, open }) => {
  const fan = await person(open, server.url, 'Fay', '/social');
  await fan.fill('#stream', 'onair');
  await fan.click('#stream-follow');
  await fan.waitForSelector('.toast:has-text("You follow onair")');
  await publisherPage(open, server, { stream: 'onair', publish: { source: { audio: true, video: { width: 640, height: 360 } }, options: { codec: 'vp8', simulcast: false } } });
  await count(fan, '1');
  await fan.waitForSelector('.toast:has-text("is live")');
  await ring(fan);
  await fan.click('.note[data-kind="stream_live"]');
  await fan.waitForURL(/\/watch\/onair$/);
});

scenario('a newcomer plays the application and watches the bell', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Luz', '/social', { colorScheme: 'light' });
  await ana.selectOption('#actor', 'crowd');
  await ana.click('#like');
  await ana.waitForSelector('#result:has-text("25")');
  await ana.selectOption('#actor', 'Marco');
  await ana.click('#comment');
  await ana.selectOption('#actor', 'Aiko');
  await ana.click('#follow');
  await count(ana, '3');
  await ring(ana);
  await ana.waitForSelector('.note:has-text("and 24 others liked your post")');
  await isAccessible(ana, 'social, with the bell open');
  await picture(ana, 'notifications');
  await ana.keyboard.press('Escape');
  assert.equal(await ana.locator('#bell-panel').count(), 0);
  assert.equal(await ana.evaluate(() => document.activeElement.id), 'bell', 'the focus goes back');

  const phone = await person(open, server.url, 'Luz', '/social', { locale: 'es-ES', viewport: { width: 390, height: 844 } });
  await ring(phone);
  await phone.waitForSelector('.note:has-text("24 personas más")');
  await fits(phone);
});

scenario('notifications survive a connection that breaks', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Ines', '/');
  await ring(ana);
  await ana.waitForSelector('.bell-empty');
  await server.stop('SIGKILL');
  await server.launch();
  for (let n = 0; n < 4; n += 1) await notify(server, { ...like('ines', n), group_key: `like:${n}` });
  await count(ana, '4');
  await until('all four are in the list', async () => (await notes(ana)).length === 4);
  const bob = await person(open, server.url, 'Gus');
  await bob.waitForSelector('.rooms-empty');
  await startDirect(bob, 'ines');
  await write(bob, 'back again');
  await count(ana, '5');
  await ana.click('#inbox-link');
  await enter(ana, 'Gus');
  await hears(ana, 'back again');
});
