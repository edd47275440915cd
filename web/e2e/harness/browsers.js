// Real browsers: Debian's Chromium through Playwright and Debian's Firefox through Puppeteer (WebDriver BiDi).
// Both give pages with goto, evaluate and close; a page keeps what its console and its errors said.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

import { instrument } from './inpage.js';

const CHROMIUM_FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-device-for-media-stream=fps=30',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
  '--allow-loopback-in-peer-connection',
];

function listen(page, note) {
  page.said = [];
  page.on('console', (message) => page.said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => page.said.push(`uncaught: ${error.stack ?? error}`));
  note?.(page);
}

export class Chromium {
  static async launch() {
    const browser = new Chromium();
    browser.inner = await chromium.launch({
      executablePath: process.env.REDRED_CHROMIUM ?? '/usr/bin/chromium',
      args: CHROMIUM_FLAGS,
      ignoreDefaultArgs: ['--mute-audio', '--headless', '--hide-scrollbars'],
    });
    return browser;
  }

  /** A page in a context of its own: nobody else's storage, signed in as nobody. */
  async page({ locale = 'en-GB', viewport = { width: 1280, height: 800 }, colorScheme = 'dark', note } = {}) {
    const context = await this.inner.newContext({ locale, viewport, colorScheme });
    await context.grantPermissions(['camera', 'microphone']);
    await context.addInitScript(instrument);
    const page = await context.newPage();
    listen(page, note);
    return page;
  }

  async close() {
    await this.inner.close();
  }
}

export class Firefox {
  static async launch() {
    const browser = new Firefox();
    browser.profile = mkdtempSync(join(tmpdir(), 'redred-firefox-'));
    browser.inner = await puppeteer.launch({
      browser: 'firefox',
      executablePath: process.env.REDRED_FIREFOX ?? '/usr/bin/firefox-esr',
      headless: true,
      userDataDir: browser.profile,
      extraPrefsFirefox: {
        'media.navigator.streams.fake': true,
        'media.navigator.permission.disabled': true,
        'media.autoplay.default': 0,
        'media.autoplay.blocking_policy': 0,
        'media.peerconnection.ice.obfuscate_host_addresses': false,
      },
    });
    return browser;
  }

  async page({ note } = {}) {
    const context = await this.inner.createBrowserContext();
    const page = await context.newPage();
    await page.evaluateOnNewDocument(instrument);
    listen(page, note);
    return page;
  }

  async close() {
    await this.inner.close();
    rmSync(this.profile, { recursive: true, force: true });
  }
}
