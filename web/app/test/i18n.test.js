import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { choose, formatClock, t } from '../i18n.js';
import { en } from '../i18n/en.js';
import { es } from '../i18n/es.js';

const app = new URL('../', import.meta.url);
const read = (path) => readFileSync(new URL(path, app), 'utf8');
const FOLDERS = ['./', './ui/', './inbox/'];
const files = (folder, ending) => readdirSync(new URL(folder, app)).filter((name) => name.endsWith(ending)).map((name) => folder + name);
const scripts = FOLDERS.flatMap((folder) => files(folder, '.js'));
const pages = [...files('./', '.html'), ...files('./parts/', '.html')];
const sources = [...scripts, ...pages];

/** The values that a text takes, `{name}` by `{name}`. */
function holes(text) {
  const forms = typeof text === 'string' ? [text] : Object.values(text);
  return [...new Set(forms.flatMap((form) => form.match(/\{\w+\}/g) ?? []))].sort();
}

test('every language has the same keys with the same values in them', () => {
  assert.deepEqual(Object.keys(es).sort(), Object.keys(en).sort());
  for (const key of Object.keys(en)) assert.deepEqual(holes(es[key]), holes(en[key]), key);
});

test('every text that pages and scripts name exists', () => {
  for (const path of sources) {
    const source = read(path);
    const named = path.endsWith('.html')
      ? source.matchAll(/data-i18n(?:-\w+)?="([^"]+)"/g)
      : source.matchAll(/'((?:[a-z]+)\.[a-z_0-9]+)'/g);
    for (const [, key] of named) {
      if (path.endsWith('.js') && !/^(home|watch|studio|chat|fault|identity|role|quality|codec|dialog|bar|bell|kind|note|tick|member|inbox|people|group|social)\./.test(key)) continue;
      assert.ok(key in en, `${path} names ${key}`);
    }
  }
});

test('no text is left over', () => {
  const all = sources.map(read).join('\n');
  const built = /^(role|quality|codec|fault|kind|note|tick|member|studio\.(state|health|lost)_?)/;
  for (const key of Object.keys(en)) {
    assert.ok(built.test(key) || all.includes(`'${key}'`) || all.includes(`"${key}"`), key);
  }
});

test('pages carry no inline script and no inline style', () => {
  for (const path of pages) {
    const source = read(path);
    assert.doesNotMatch(source, /<style|\sstyle=|\son\w+=|javascript:/, path);
    assert.doesNotMatch(source, /<script(?![^>]*\ssrc=)/, path);
  }
});

test('every icon that is named exists', () => {
  const known = new Set([...read('icons.svg').matchAll(/<symbol id="([^"]+)"/g)].map(([, id]) => id));
  for (const path of sources) {
    for (const [, id] of read(path).matchAll(/(?:icons\.svg#|icon\('|icon: ')([\w-]+)/g)) {
      assert.ok(known.has(id), `${path} names ${id}`);
    }
  }
});

test('the first language that we speak is chosen', () => {
  assert.equal(choose(['fr-FR', 'es-AR', 'en']), 'es');
  assert.equal(choose(['de', 'fr']), 'en');
  assert.equal(choose([]), 'en');
});

test('values and plurals are filled in', () => {
  assert.equal(t('viewers', { n: 1 }), '1 watching');
  assert.equal(t('fault.slow_mode', { wait: '5 sec' }), 'Slow mode is on. You can comment again in 5 sec.');
  assert.equal(formatClock(3_723_000), '1:02:03');
});
