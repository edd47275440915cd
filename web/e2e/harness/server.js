// One redred process for a test file: free ports, a folder of its own, its log kept and shown when a test fails.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target');
export const BINARY = process.env.REDRED_BINARY ?? join(TARGET, 'debug', 'redred');
export const LOGS = process.env.REDRED_TEST_LOGS ?? join(TARGET, 'test-logs');

const READY_MS = 20_000;
const LOG_LINES_KEPT = 4000;

export async function freePort(host = '127.0.0.1') {
  const socket = createServer().listen(0, host);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

export class Server {
  /**
   * @param {object} options
   * @param {string} options.name names the log file
   * @param {string} [options.host] address of HTTP and media; anything but loopback needs `REDRED_AUTH__SECRET` in env
   * @param {Record<string, string>} [options.env] configuration, `REDRED_…`
   */
  static async start({ name, host = '127.0.0.1', env = {} }) {
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), 'redred-e2e-'));
    server.host = host;
    server.port = await freePort(host);
    server.url = `http://${host}:${server.port}`;
    server.env = {
      REDRED_HTTP__LISTEN: `${host}:${server.port}`,
      REDRED_SFU__UDP_PORT_BASE: '0',
      REDRED_SFU__WORKERS: '2',
      REDRED_STORE__URL: `sqlite://${join(server.folder, 'redred.db')}`,
      ...env,
    };
    server.name = name;
    await server.launch();
    return server;
  }

  /** Starts the process, again after `stop`: with the same ports and the same store. */
  async launch() {
    mkdirSync(LOGS, { recursive: true });
    this.lines = [];
    this.log = createWriteStream(join(LOGS, `${this.name}.log`), { flags: 'a' });
    this.child = spawn(BINARY, ['serve'], {
      cwd: this.folder,
      env: { PATH: process.env.PATH, HOME: this.folder, RUST_BACKTRACE: '1', ...this.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.exited = new Promise((done) => {
      this.child.once('exit', (code, signal) => done({ code, signal }));
      this.child.once('error', (error) => done({ code: null, signal: null, error }));
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.log.write(`${line}\n`);
        this.lines.push(line);
        if (this.lines.length > LOG_LINES_KEPT) this.lines.shift();
      });
    }
    await this.ready();
  }

  async ready() {
    const deadline = Date.now() + READY_MS;
    let gone = null;
    this.exited.then((end) => (gone = end));
    while (Date.now() < deadline) {
      if (gone) throw new Error(`the server exited: ${JSON.stringify(gone)}\n${this.lines.join('\n')}`);
      const answer = await fetch(`${this.url}/readyz`).catch(() => null);
      if (answer?.ok) return;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`not ready after ${READY_MS} ms\n${this.lines.join('\n')}`);
  }

  /** A token for `sub`. Dev mode hands it out; elsewhere the command line signs it. */
  async token({ sub, name = sub, grants }) {
    if (!this.env.REDRED_AUTH__SECRET) {
      const answer = await this.post('/api/v1/dev/token', { sub, name, ...(grants && { grants }) });
      if (!answer.ok) throw new Error(`dev token: ${answer.status} ${await answer.text()}`);
      return (await answer.json()).token;
    }
    const flags = Object.entries(grants ?? {}).flatMap(([grant, ids]) =>
      ids === true ? [`--${grant}`] : [].concat(ids).flatMap((id) => [`--${grant}`, id]),
    );
    const { stdout } = await promisify(execFile)(BINARY, ['token', '--sub', sub, '--name', name, ...flags], {
      cwd: this.folder,
      env: { PATH: process.env.PATH, HOME: this.folder, ...this.env },
    });
    return stdout.trim().split('\n').at(-1);
  }

  post(path, body, headers = {}) {
    return fetch(this.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  }

  async json(path, headers = {}) {
    const answer = await fetch(this.url + path, { headers });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** The value of a metric, summed over its labels that match. */
  async metric(name, labels = {}) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    let sum = 0;
    for (const line of text.split('\n')) {
      const found = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (found?.[1] !== name) continue;
      const wanted = Object.entries(labels).every(([key, value]) => found[2]?.includes(`${key}="${value}"`));
      if (wanted) sum += Number(found[3]);
    }
    return sum;
  }

  tail(count = 80) {
    return this.lines.slice(-count).join('\n');
  }

  /** Asks the process to end and returns how it did. */
  async stop(signal = 'SIGTERM', { within_ms = 20_000 } = {}) {
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), within_ms);
    const end = await this.exited;
    clearTimeout(timer);
    this.log.end();
    return end;
  }

  async remove() {
    await this.stop('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
