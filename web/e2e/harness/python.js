// Clients that are not browsers, each a small Python program that prints one JSON object a line.

import { spawn } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { until } from './wait.js';

const CLIENTS = resolve(dirname(fileURLToPath(import.meta.url)), '../clients');
const ROOT = resolve(CLIENTS, '../../..');
const PYTHON =
  process.env.REDRED_PYTHON ?? join(resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target'), 'venv/bin/python');

/** Starts `clients/<program>.py` with arguments; `events` fills with what it prints. */
export function python(program, args) {
  const child = spawn(PYTHON, [join(CLIENTS, `${program}.py`), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PYTHONUNBUFFERED: '1' },
  });
  const client = { events: [], errors: [], ended: null };
  createInterface({ input: child.stdout }).on('line', (line) => {
    try {
      client.events.push(JSON.parse(line));
    } catch {
      client.errors.push(line);
    }
  });
  createInterface({ input: child.stderr }).on('line', (line) => client.errors.push(line));
  const exited = new Promise((done) => child.once('exit', (code, signal) => done((client.ended = { code, signal }))));

  /** The first event that `test` accepts; an early end of the program is an error. */
  client.event = (what, test, options) =>
    until(
      `${program}: ${what}`,
      () => {
        const found = client.events.find(test);
        if (!found && client.ended) {
          throw Object.assign(new Error(`${program} ended ${JSON.stringify(client.ended)}: ${client.tail()}`), { isFinal: true });
        }
        return found;
      },
      options,
    );
  client.tail = () => [...client.events.slice(-5).map((e) => JSON.stringify(e)), ...client.errors.slice(-15)].join('\n');
  client.kill = (signal) => child.kill(signal);
  client.stop = async () => {
    if (client.ended) return client.ended;
    child.kill('SIGINT');
    const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
    await exited;
    clearTimeout(timer);
    return client.ended;
  };
  return client;
}
