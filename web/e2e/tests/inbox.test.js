// The inbox as people use it: talk, see what became of a message, group, search, come back after a break.

import assert from 'node:assert/strict';

import { enter, fits, hears, isAccessible, onMessage, person, picture, startDirect, startGroup, texts, ticks, write } from '../harness/pages.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'inbox' });

const PHONE = { viewport: { width: 390, height: 844 }, colorScheme: 'dark', hasTouch: true };
const listed = (page, title) => page.locator('#rooms .room', { hasText: title });
const subtitle = (page, text) => page.waitForSelector(`#room-subtitle:has-text("${text}")`, { timeout: 15_000 });

/** Writes messages over HTTP, as an application would. */
async function fill(server, { user, room, count, text }) {
  const token = await server.token({ sub: user, name: user });
  for (let n = 1; n <= count; ) {
    const answer = await server.post(`/api/v1/rooms/${room}/messages`, { text: text(n) }, { authorization: `Bearer ${token}` });
    const body = await answer.json();
    if (answer.status === 429) {
      await new Promise((done) => setTimeout(done, body.retry_after_ms));
      continue;
    }
    assert.equal(answer.status, 201, JSON.stringify(body));
    n += 1;
  }
}

const roomOf = (page) => new URL(page.url()).pathname.split('/')[2];

scenario('two people talk, and see what becomes of what they say', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Ana', '/inbox', { colorScheme: 'light' });
  await ana.waitForSelector('.rooms-empty');
  await isAccessible(ana, 'inbox, empty');
  await startDirect(ana, 'ben');
  await write(ana, 'Hola Ben! ¿Listo para mañana?');
  await ticks(ana, 'Hola Ben', 'sent');

  const ben = await person(open, server.url, 'Ben');
  await listed(ben, 'Ana').locator('.badge-count').waitFor();
  await ticks(ana, 'Hola Ben', 'delivered');
  assert.match(await ben.title(), /^\(1\)/);
  await enter(ben, 'Ana');
  await hears(ben, 'Hola Ben');
  await ticks(ana, 'Hola Ben', 'read');
  await listed(ben, 'Ana').locator('.badge-count').waitFor({ state: 'detached' });
  await subtitle(ana, 'Online');

  await ben.focus('#message-input');
  await ben.keyboard.type('Almost');
  await subtitle(ana, 'typing');
  await ben.fill('#message-input', '');
  await subtitle(ana, 'Online');

  await write(ben, 'Almost! The plan is at https://example.com/plan?day=2. Have a look.');
  const link = await ana.waitForSelector('#thread .message.theirs a');
  assert.equal(await link.getAttribute('href'), 'https://example.com/plan?day=2');
  assert.match(await link.getAttribute('rel'), /noopener.*nofollow/);
  await write(ben, '<img src=x onerror="alert(1)"> is only text');
  await hears(ana, '<img src=x');

  await onMessage(ana, 'The plan is', 'Reply');
  await write(ana, 'Looks great, thank you!');
  const quote = await ben.waitForSelector('#thread .message.theirs .quote');
  assert.match(await quote.textContent(), /The plan is/);
  await write(ana, 'See you at seven');
  await ticks(ana, 'See you at seven', 'read');
  await onMessage(ana, 'See you at seven', 'Edit');
  assert.equal(await ana.inputValue('#message-input'), 'See you at seven');
  await write(ana, 'See you at eight');
  await hears(ben, 'See you at eight');
  assert.match(await ben.locator('#thread .message', { hasText: 'See you at eight' }).textContent(), /edited/);

  await write(ben, 'wrong window');
  await hears(ana, 'wrong window');
  await onMessage(ben, 'wrong window', 'Delete');
  await ben.click('dialog .button.primary');
  await ana.waitForSelector('#thread .message.tombstone');
  assert.ok(!(await texts(ana)).includes('wrong window'));
  await onMessage(ana, '<img', 'Reply');
  await ana.keyboard.press('Escape');
  assert.ok(await ana.isHidden('.composer .context'));
  await isAccessible(ana, 'conversation');
  await isAccessible(ben, 'conversation, dark');

  await ben.close();
  await subtitle(ana, 'Last seen');
});

scenario('attachments are links to files elsewhere', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Anita');
  await startDirect(ana, 'bruno');
  await ana.click('#attach');
  await ana.fill('#attach-url', 'javascript:alert(1)');
  await ana.click('dialog .button.primary');
  assert.equal(await ana.locator('dialog').count(), 1, 'only addresses of the web');
  await ana.fill('#attach-url', 'https://example.com/files/plan%202.pdf');
  await ana.click('dialog .button.primary');
  await ana.waitForSelector('.composer .chip:has-text("plan 2.pdf")');
  await ana.press('#message-input', 'Enter');
  const bruno = await person(open, server.url, 'Bruno');
  await enter(bruno, 'Anita');
  const file = await bruno.waitForSelector('#thread .attachment');
  assert.equal(await file.getAttribute('href'), 'https://example.com/files/plan%202.pdf');
  assert.match(await file.textContent(), /plan 2\.pdf.*example\.com/);
});

scenario('a group has roles, and its members see each change', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Ada', '/inbox', { colorScheme: 'light' });
  const [ben, carla] = await Promise.all([person(open, server.url, 'Bob'), person(open, server.url, 'Cleo')]);
  await startGroup(ana, 'Friday crew', ['bob', 'cleo']);
  for (const page of [ben, carla]) {
    await listed(page, 'Friday crew').waitFor();
    await enter(page, 'Friday crew');
  }
  await write(ana, 'Who brings the lights?');
  await write(ben, 'I have two of them.');
  await hears(carla, 'I have two of them.');
  await ticks(ana, 'Who brings', 'read');
  assert.equal(await carla.locator('#thread .author', { hasText: 'Bob' }).count(), 1, 'in a group it is said who spoke');

  const manage = async (page) => {
    await page.click('#room-menu');
    await page.locator('[role=menu] button', { hasText: /^Group$/ }).click();
    await page.waitForSelector('dialog .members li');
  };
  const close = (page) => page.keyboard.press('Escape');
  const onMember = async (page, user, entry) => {
    await page.click(`dialog .members li[data-user="${user}"] button`);
    await page.locator('[role=menu] button', { hasText: entry }).click();
  };

  await manage(ben);
  assert.ok(await ben.isHidden('#group-add'), 'members do not manage');
  await close(ben);
  await manage(ana);
  await isAccessible(ana, 'group');
  await ana.click('#group-rename');
  await ana.fill('#answer', 'Saturday crew');
  await ana.locator('dialog').last().locator('.button.primary').click();
  await carla.waitForSelector('#room-title:has-text("Saturday crew")');
  await onMember(ana, 'bob', 'Admin');
  await ana.waitForSelector('dialog .members li[data-user="bob"][data-role="admin"]');
  await close(ana);

  await manage(ben);
  assert.equal(await ben.locator('dialog .members li[data-user="ada"] button').count(), 0, 'nobody manages the owner');
  await ben.click('#group-add');
  await ben.fill('#people', 'dora');
  await ben.press('#people', 'Enter');
  await ben.locator('dialog').last().locator('.button.primary').click();
  await ben.waitForSelector('dialog .members li[data-user="dora"]');
  await onMember(ben, 'cleo', 'Remove');
  await close(ben);
  await carla.waitForSelector('#connection-strip:has-text("no longer in this group")');
  await listed(carla, 'Saturday crew').waitFor({ state: 'detached' });

  const dora = await person(open, server.url, 'Dora');
  await enter(dora, 'Saturday crew');
  await hears(dora, 'Who brings the lights?');
  await write(dora, 'Hello everybody');
  await hears(ana, 'Hello everybody');
  await ana.click('#room-menu');
  await ana.locator('[role=menu] button', { hasText: 'Leave the group' }).click();
  await ana.click('dialog .button.primary');
  await ana.waitForSelector('.nothing');
  await listed(ana, 'Saturday crew').waitFor({ state: 'detached' });
});

scenario('old messages are loaded while scrolling, and found by search', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Alba', '/inbox', { colorScheme: 'light' });
  await startDirect(ana, 'boris');
  const room = roomOf(ana);
  await write(ana, 'the needle in the haystack');
  await ticks(ana, 'needle', 'sent');
  await fill(server, { user: 'alba', room, count: 30, text: (n) => `straw ${n} of alba` });
  await fill(server, { user: 'boris', room, count: 150, text: (n) => `straw ${n} of boris` });

  const boris = await person(open, server.url, 'Boris');
  await enter(boris, 'Alba');
  await hears(boris, 'straw 150 of boris');
  assert.equal(await boris.locator('#thread .message', { hasText: 'needle' }).count(), 0, 'only the newest at first');
  await until('scrolling up reaches the beginning', async () => {
    await boris.evaluate(() => document.querySelector('#thread').scrollTo(0, 0));
    return (await boris.locator('#thread .beginning').count()) === 1;
  });
  const all = await texts(boris);
  assert.equal(all.length, 181);
  assert.equal(new Set(all).size, 181, 'nothing twice');
  assert.equal(all[0], 'the needle in the haystack');

  await ana.reload();
  await ana.fill('#search', 'needle hay');
  const hit = await ana.waitForSelector('.room.hit');
  assert.match(await hit.textContent(), /needle/);
  await isAccessible(ana, 'search');
  await hit.click();
  await ana.waitForSelector('#thread .message.flash:has-text("needle")');
  assert.ok(await ana.isVisible('.jump'), 'there is a way back to the end');
  await write(boris, 'and one straw more');
  await ana.click('.jump');
  await hears(ana, 'and one straw more');
  const ends = await texts(ana);
  assert.deepEqual(ends.slice(-2), ['straw 150 of boris', 'and one straw more']);

  await ana.fill('#search', 'nowhere to be found');
  await ana.waitForSelector('.found-note:has-text("Nothing found")');
});

scenario('what is unread is marked where the reader left off', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Ava');
  await startDirect(ana, 'bela');
  await write(ana, 'before');
  await ticks(ana, 'before', 'sent');
  const bela = await person(open, server.url, 'Bela');
  await enter(bela, 'Ava');
  await ticks(ana, 'before', 'read');
  await bela.click('.wordmark');
  await bela.waitForSelector('#go-live');
  for (const text of ['after one', 'after two']) await write(ana, text);
  await bela.waitForSelector('#inbox-count:has-text("2")');
  await bela.click('#inbox-link');
  await enter(bela, 'Ava');
  await hears(bela, 'after two');
  const order = await bela.evaluate(() => [...document.querySelectorAll('#thread .messages > *')].map((row) => (row.classList.contains('new') ? 'new' : row.querySelector('.text')?.textContent)).filter(Boolean));
  assert.deepEqual(order.slice(-4), ['before', 'new', 'after one', 'after two']);
});

scenario('a link begins a conversation, and a blocked person is not heard', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Aro');
  await ana.waitForSelector('.rooms-empty');
  const ben = await person(open, server.url, 'Bo', '/inbox?to=aro');
  await ben.waitForSelector('#message-input');
  await write(ben, 'your link works');
  await enter(ana, 'Bo');
  await hears(ana, 'your link works');
  await ana.click('#room-menu');
  await ana.locator('[role=menu] button', { hasText: 'Block' }).click();
  await ana.click('dialog .button.primary');
  await ana.waitForSelector('.toast:has-text("blocked")');
  await write(ben, 'can you hear me?');
  await ben.waitForSelector('#thread .message.own:has-text("can you hear me?")');
  await ana.click('#room-menu');
  await ana.locator('[role=menu] button', { hasText: 'Unblock' }).click();
  await ana.waitForSelector('.toast:has-text("may write")');
  await write(ben, 'and now?');
  await hears(ana, 'and now?');
  assert.ok(!(await texts(ana)).includes('can you hear me?'));
});

scenario('the inbox fits a phone, in Spanish', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Ainhoa', '/inbox', { colorScheme: 'light' });
  await startDirect(ana, 'beto');
  await write(ana, '¿Has visto el estreno de anoche?');
  await write(ana, 'Yo lo seguí en directo desde el tren y no se cortó ni una vez.');
  await write(ana, 'El enlace para volver a verlo: https://example.com/estreno');
  await ticks(ana, 'El enlace', 'sent');
  const phone = await person(open, server.url, 'Beto', '/inbox', { locale: 'es-ES', ...PHONE });
  await listed(phone, 'Ainhoa').waitFor();
  assert.equal(await phone.getAttribute('html', 'lang'), 'es');
  await fits(phone);
  await enter(phone, 'Ainhoa');
  assert.ok(await phone.isHidden('#rooms'), 'one thing at a time');
  await phone.fill('#message-input', '¡Sí! Qué final, todavía no me lo creo.\nMañana lo comentamos 🎬');
  await phone.click('#message-send');
  await hears(ana, 'Mañana lo comentamos');
  await write(ana, '¡Hecho! ¿A las ocho en el café de siempre?');
  await phone.waitForSelector('#thread .message.theirs:has-text("A las ocho")');
  await phone.fill('#message-input', 'Allí estaré ☕');
  await phone.click('#message-send');
  await ticks(phone, 'Allí estaré', 'read');
  await fits(phone);
  await isAccessible(phone, 'conversation on a phone');
  await picture(phone, 'inbox-phone');
  await phone.click('#back');
  await listed(phone, 'Ainhoa').waitFor();
  await phone.goBack();
  await hears(phone, 'estreno');
});

scenario('a picture of the inbox', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Lucía', '/inbox', { colorScheme: 'light' });
  const marco = await person(open, server.url, 'Marco');
  const [aiko, sam] = await Promise.all([person(open, server.url, 'Aiko'), person(open, server.url, 'Sam')]);
  await startDirect(aiko, 'lucia');
  await write(aiko, 'The photos from the roof are up: https://example.com/roof');
  await startDirect(sam, 'lucia');
  await write(sam, 'Can I bring my sister on Friday?');
  await startGroup(ana, 'Friday crew', ['marco', 'aiko', 'sam']);
  await write(ana, 'Doors at half past seven, we go live at eight.');
  await enter(marco, 'Friday crew');
  await write(marco, 'I bring two lights and the long cable.');
  await hears(ana, 'the long cable');
  await startDirect(ana, 'marco');
  await write(ana, 'Hola Marco! Is the stream ready for tomorrow?');
  await enter(marco, 'Lucía');
  await write(marco, 'Almost. I tested from the balcony, the picture holds even on the phone.');
  await write(marco, 'The running order is at https://example.com/friday, have a look.');
  await hears(ana, 'running order');
  await onMessage(ana, 'running order', 'Reply');
  await write(ana, 'Looks great! I would put the song before the questions.');
  await write(marco, 'Good idea, done.');
  await hears(ana, 'Good idea');
  await write(ana, 'Perfect 👌 See you at seven.');
  await ticks(ana, 'Perfect', 'read');
  await marco.focus('#message-input');
  await marco.keyboard.type('See you');
  await subtitle(ana, 'typing');
  for (const name of ['Aiko', 'Sam']) await listed(ana, name).locator('.badge-count').waitFor();
  await picture(ana, 'inbox');
});
