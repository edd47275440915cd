/** @file A clock that moves when told to, and a server on the other end of a fake WebSocket. */

export class FakeClock {
  #now = 1_800_000_000_000;
  #next = 1;
  #timers = new Map();

  now() {
    return this.#now;
  }

  setTimeout(callback, ms) {
    const handle = this.#next++;
    this.#timers.set(handle, { at: this.#now + ms, callback });
    return handle;
  }

  clearTimeout(handle) {
    this.#timers.delete(handle);
  }

  /** Waits that are running, in milliseconds from now, shortest first. */
  pending() {
    return [...this.#timers.values()].map(({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  /** Moves time on, running what falls due in order, and lets promises settle in between. */
  async advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].callback();
    }
    this.#now = end;
    await settled();
  }
}

/** Lets every promise that can settle do so. */
export async function settled() {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

/** Stands for the server: every socket the client opened, the newest last. */
export class FakeServer {
  sockets = [];

  constructor() {
    const server = this;
    this.WebSocket = class {
      readyState = 0;
      protocol = 'redred.v1';
      onopen = null;
      onmessage = null;
      onclose = null;
      onerror = null;
      sent = [];
      closedWith = null;

      constructor(url, protocols) {
        this.url = url;
        this.protocols = protocols;
        server.sockets.push(this);
      }

      send(text) {
        this.sent.push(JSON.parse(text));
      }

      close(code = 1005) {
        this.closedWith = code;
      }
    };
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** Messages of one type that the newest socket got. */
  sent(type) {
    return this.socket.sent.filter((message) => message.type === type);
  }

  /** Sends a message to the client. */
  say(type, data = {}, metadata = undefined) {
    this.socket.onmessage?.({ data: JSON.stringify({ type, data, metadata }) });
  }

  establish(more = {}) {
    this.say('connection_established', {
      user_id: 'u1',
      session_id: `s${this.sockets.length}`,
      name: 'Ana',
      heartbeat_ms: 20_000,
      server_time: '2026-11-24T12:00:00.000Z',
      resume_token: `r${this.sockets.length}`,
      resumed: false,
      ...more,
    });
  }

  /** Acknowledges the newest request of a type. */
  ack(type, data = {}) {
    this.say('ack', data, { reply_to: this.sent(type).at(-1).metadata.id });
  }

  drop(code = 1006, reason = '') {
    this.socket.onclose?.({ code, reason });
  }
}

/** An unsigned token that ends at `exp`. */
export function tokenUntil(expMs) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part({ sub: 'u1', exp: expMs / 1000 })}.x`;
}
