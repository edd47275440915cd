// What a test file starts with: one server, the browsers it asks for, and scenarios that tell what went wrong.

import { after, before, test } from 'node:test';

import { Chromium, Firefox } from './browsers.js';
import { Server } from './server.js';

const SCENARIO_MS = 120_000;

/**
 * @param {object} options
 * @param {string} options.name names the log
 * @param {string[]} [options.browsers] 'chromium', 'firefox'
 * @param {object} [options.server] what `Server.start` takes
 */
export function suite({ name, browsers = ['chromium'], server: serverOptions = {} }) {
  const shared = { server: null, chromium: null, firefox: null };

  before(async () => {
    shared.server = await Server.start({ name, ...serverOptions });
    if (browsers.includes('chromium')) shared.chromium = await Chromium.launch();
    if (browsers.includes('firefox')) shared.firefox = await Firefox.launch();
  });

  after(async () => {
    await shared.chromium?.close();
    await shared.firefox?.close();
    await shared.server?.remove();
  });

  /** A test with pages that close by themselves; when it fails, what the pages and the server said comes with it. */
  function scenario(title, steps, { timeout = SCENARIO_MS } = {}) {
    test(title, { timeout }, async (t) => {
      const pages = [];
      const closers = [];
      const { server } = shared;
      const seen = server.lines.length;
      const open = (browser) => async (options = {}) => {
        const page = await browser.page(options);
        page.title_in_report = options.name ?? `page ${pages.length + 1}`;
        pages.push(page);
        return page;
      };
      const tools = {
        t,
        server,
        open: shared.chromium && open(shared.chromium),
        openFirefox: shared.firefox && open(shared.firefox),
        /** Closes or stops something when the scenario is over. */
        defer: (closer) => closers.push(closer),
      };
      try {
        await steps(tools);
      } catch (error) {
        for (const page of pages) {
          t.diagnostic(`--- ${page.title_in_report}\n${page.said.slice(-40).join('\n')}`);
          const dump = await Promise.race([
            page.evaluate(() => JSON.stringify(globalThis.report?.() ?? null)),
            new Promise((done) => setTimeout(done, 2000, 'no answer')),
          ]).catch((failure) => String(failure));
          if (dump !== 'null') t.diagnostic(`    ${dump}`);
        }
        t.diagnostic(`--- server\n${server.lines.slice(Math.max(seen, server.lines.length - 60)).join('\n')}`);
        throw error;
      } finally {
        for (const closer of closers.reverse()) await closer();
        for (const page of pages) await page.close().catch(() => {});
      }
    });
  }

  return { scenario, shared };
}
