// What tests of the app's pages share: people in pages, pictures for the documents, accessibility.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const PICTURES = resolve(dirname(fileURLToPath(import.meta.url)), '../../../docs/screenshots');
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Writes a picture for the documents, when asked to; otherwise the working tree stays as it is. */
export async function picture(page, name) {
  if (!process.env.REDRED_SCREENSHOTS) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: join(PICTURES, `${name}.png`) });
}

/** Fails on what makes a page hard to use with a keyboard or a screen reader. */
export async function isAccessible(page, what) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] });
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`);
  });
  assert.deepEqual(found, [], what);
}

/** Fails when the page can be scrolled sideways. */
export async function fits(page) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(overflow, 0, 'nothing is wider than the window');
}

/** Somebody on a page of the app. Their user id is the name in small letters. */
export async function person(open, origin, name, path = '/inbox', options = {}) {
  const page = await open({ name, ...options });
  const url = new URL(path, origin);
  url.searchParams.set('as', name);
  await page.goto(url.href);
  return page;
}

/** Begins a conversation with one person. */
export async function startDirect(page, user) {
  await page.click('#new-chat');
  await page.fill('#people', user);
  await page.click('dialog .button.primary');
  await page.waitForSelector('#message-input');
}

export async function startGroup(page, title, users) {
  await page.click('#new-chat');
  await page.click('#kind-group');
  await page.fill('#group-title', title);
  for (const user of users) {
    await page.fill('#people', user);
    await page.press('#people', 'Enter');
  }
  await page.click('dialog .button.primary');
  await page.waitForSelector('#message-input');
}

/** Opens a conversation from the list. */
export async function enter(page, title) {
  await page.click(`#rooms .room:has-text("${title}")`);
  await page.waitForSelector(`#room-title:has-text("${title}")`);
}

/** Writes a message, without waiting for what becomes of it. */
export async function write(page, text) {
  await page.fill('#message-input', text);
  await page.press('#message-input', 'Enter');
}

/** Waits for a message in the conversation. */
export const hears = (page, text, within_ms = 15_000) =>
  page.waitForSelector(`#thread .message:has-text("${text}")`, { timeout: within_ms });

/** Waits until a message of one's own has come this far. */
export const ticks = (page, text, tick) =>
  page.waitForSelector(`#thread .message.own[data-tick="${tick}"]:has-text("${text}")`, { timeout: 15_000 });

/** Texts of the conversation, in order. */
export const texts = (page) => page.locator('#thread .message .text').allTextContents();

/** Chooses from the menu of a message. */
export async function onMessage(page, text, entry) {
  const row = page.locator('#thread .message', { hasText: text }).last();
  await row.hover();
  await row.locator('.bubble-menu').click();
  await page.locator('[role=menu] button', { hasText: entry }).click();
}
