// The pages as people use them: go live in the studio, be found on the home page, be watched, talk, moderate, end.

import assert from 'node:assert/strict';

import { decodes, goesOn, playsSteadily, received } from '../harness/media.js';
import { fits, isAccessible, picture } from '../harness/pages.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'app' });

async function studio(open, server, { name, stream, title = 'A test', settle = true, before }) {
  const page = await open({ name: `studio of ${name}` });
  if (before) await page.addInitScript(before);
  page.on('dialog', (dialog) => dialog.accept().catch(() => {}));
  await page.goto(server.url);
  await page.evaluate((chosen) => localStorage.setItem('redred.name', chosen), name);
  await page.goto(`${server.url}/studio?stream=${stream}`);
  await page.fill('#title', title);
  if (settle) await goLive(page);
  return page;
}

async function goLive(page) {
  await page.click('#go-live');
  await page.waitForSelector('#end-stream:visible', { timeout: 30_000 });
}

async function watching(open, server, { name, stream, ...options }) {
  const page = await open({ name: `${name} watching`, ...options });
  await page.goto(server.url);
  await page.evaluate((chosen) => localStorage.setItem('redred.name', chosen), name);
  await page.goto(`${server.url}/watch/${stream}`);
  return page;
}

const playerState = (page, state) =>
  until(`the player is ${state}`, async () => (await page.getAttribute('#player', 'data-state')) === state, { within_ms: 30_000 });

async function say(page, text) {
  await page.fill('#comment-input', text);
  await page.press('#comment-input', 'Enter');
}

const reads = (page, text) => page.waitForSelector(`#comments >> text=${text}`, { timeout: 15_000 });

scenario('someone goes live, is found, watched and talked to, and ends', async ({ t, server, open }) => {
  const home = await open({ name: 'home' });
  await home.goto(server.url);
  await home.waitForSelector('#nobody:visible');

  const ana = await studio(open, server, { name: 'Ana', stream: 'ana', title: 'Sunset over the bay' });
  const card = await home.waitForSelector('#streams [data-stream="ana"]', { timeout: 15_000 });
  assert.match(await card.textContent(), /Sunset over the bay/);

  const vera = await watching(open, server, { name: 'Vera', stream: 'ana' });
  await decodes(vera, { width: 640, height: 360, within_ms: 45_000 });
  await playerState(vera, 'playing');
  t.diagnostic(await playsSteadily(vera, { seconds: 10 }));

  const vito = await watching(open, server, { name: 'Vito', stream: 'ana', colorScheme: 'light' });
  await decodes(vito);
  for (const page of [ana, vera, vito]) {
    await until('two viewers', async () => /\b2\b/.test(await page.textContent('#viewers')));
  }
  await until('the home page counts too', async () => (await home.textContent('[data-stream="ana"] .glass')).trim() === '2');

  await say(vera, 'What a light!');
  for (const page of [ana, vito]) await reads(page, 'What a light!');
  await say(ana, 'It gets better every minute.');
  await reads(vera, 'It gets better every minute.');
  await say(vito, '¡Qué bonito, saludos desde Sevilla!');
  await reads(ana, '¡Qué bonito');
  await vito.click('.reactions button >> nth=0');

  for (const [page, name] of [[home, 'home'], [ana, 'studio'], [vera, 'watch']]) {
    await isAccessible(page, name);
    await picture(page, name);
  }

  await ana.click('#end-stream');
  for (const page of [vera, vito]) await playerState(page, 'offline');
  await home.waitForSelector('#nobody:visible', { timeout: 15_000 });
  await ana.waitForSelector('#go-live:visible');
}, { timeout: 180_000 });

scenario('the quality menu changes what is received', async ({ server, open }) => {
  await studio(open, server, { name: 'Ana', stream: 'menu' });
  const vera = await watching(open, server, { name: 'Vera', stream: 'menu' });
  const best = await decodes(vera, { width: 1280, height: 720, within_ms: 60_000 });
  await vera.hover('#player');
  await vera.click('#quality');
  await vera.locator('[role=menu] button').last().click();
  await until('a smaller picture', async () => (await received(vera)).frameWidth < best.frameWidth, { within_ms: 20_000 });
  await goesOn(vera);
});

scenario('a studio that reloads goes on with the same viewers', async ({ server, open }) => {
  const ana = await studio(open, server, { name: 'Ana', stream: 'again' });
  const vera = await watching(open, server, { name: 'Vera', stream: 'again' });
  await decodes(vera);
  await ana.reload();
  // It goes on air again by itself.
  await ana.waitForSelector('#end-stream:visible', { timeout: 30_000 });
  await goesOn(vera);
  await playerState(vera, 'playing');
  assert.equal(await vera.evaluate(() => globalThis.peers.length), 1, 'the viewer kept its connection');
});

scenario('moderation from the comments: delete and ban', async ({ server, open }) => {
  const ana = await studio(open, server, { name: 'Ana', stream: 'order' });
  const troll = await watching(open, server, { name: 'Troll', stream: 'order' });
  const vera = await watching(open, server, { name: 'Vera', stream: 'order' });
  await decodes(troll);
  await decodes(vera);
  await say(troll, 'something rude');
  await reads(vera, 'something rude');
  const menu = async (entry) => {
    const row = ana.locator('#comments .comment', { hasText: 'something rude' }).first();
    await row.hover();
    await row.locator('.comment-menu').click();
    await ana.locator('[role=menu] button', { hasText: entry }).click();
  };
  await menu(/^Ban/);
  await until('the troll reads why', async () => /banned/i.test(await troll.textContent('#status')));
  await until('and sees nothing', async () =>
    (await troll.evaluate(() => globalThis.peers.map(({ connectionState }) => connectionState))).every((state) => state !== 'connected'));
  await menu(/Delete/);
  await vera.waitForSelector('text=something rude', { state: 'detached', timeout: 10_000 });
  await goesOn(vera);
  await troll.reload();
  await until('a reload does not help', async () => /banned/i.test(await troll.textContent('#status')), { within_ms: 20_000 });
});

scenario('a stream that is not live is waited for', async ({ server, open }) => {
  const vera = await watching(open, server, { name: 'Vera', stream: 'later' });
  await playerState(vera, 'offline');
  assert.notEqual((await vera.textContent('#status')).trim(), '');
  await isAccessible(vera, 'watch, offline');
  await studio(open, server, { name: 'Ana', stream: 'later' });
  await decodes(vera);
  await playerState(vera, 'playing');
});

function deny() {
  navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('Permission denied', 'NotAllowedError'));
}

scenario('a camera that is denied is explained', async ({ server, open }) => {
  const ana = await studio(open, server, { name: 'Ana', stream: 'denied', settle: false, before: deny });
  await ana.click('#go-live');
  await ana.waitForSelector('#fault:visible');
  assert.match(await ana.textContent('#fault-text'), /camera|microphone|permission/i);
  await isAccessible(ana, 'studio with a fault');
});

scenario('the pages speak Spanish and fit a phone', async ({ server, open }) => {
  await studio(open, server, { name: 'Ana', stream: 'movil' });
  const phone = await watching(open, server, {
    name: 'Vera',
    stream: 'movil',
    locale: 'es-ES',
    viewport: { width: 390, height: 844 },
    colorScheme: 'light',
  });
  await decodes(phone);
  assert.equal(await phone.getAttribute('html', 'lang'), 'es');
  assert.match(await phone.textContent('#chat h2'), /coment|chat/i);
  await fits(phone);
  await say(phone, 'hola desde el móvil');
  await reads(phone, 'hola desde el móvil');
  await isAccessible(phone, 'watch on a phone');
  await picture(phone, 'watch-phone');
});

scenario('a viewer whose server goes away is told and recovers', async ({ server, open }) => {
  const ana = await studio(open, server, { name: 'Ana', stream: 'phoenix' });
  const vera = await watching(open, server, { name: 'Vera', stream: 'phoenix' });
  await decodes(vera);
  await server.stop('SIGKILL');
  await until('the viewer is told', async () => (await vera.getAttribute('#player', 'data-state')) !== 'playing', { within_ms: 30_000 });
  assert.notEqual((await vera.textContent('#status')).trim(), '');
  await server.launch();
  await until('the studio is back', async () => /LIVE/i.test(await ana.textContent('#state-pill')), { within_ms: 60_000 });
  await playerState(vera, 'playing');
  await goesOn(vera, { within_ms: 30_000 });
}, { timeout: 180_000 });
