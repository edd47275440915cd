// A bare WebSocket client that speaks envelopes, for what the SDK would never send.

import WebSocket from 'ws';

import { until } from './wait.js';

export class Socket {
  /** Resolves when the socket is open; rejects with `status` when the upgrade is refused. */
  static open(server, path, { token, origin, query = {}, protocols } = {}) {
    const url = new URL(path, server.url.replace(/^http/, 'ws'));
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    const socket = new Socket();
    socket.messages = [];
    socket.closed = null;
    socket.inner = new WebSocket(url, protocols ?? ['redred.v1', ...(token ? [`redred.token.${token}`] : [])], {
      ...(origin && { headers: { origin } }),
    });
    socket.inner.on('message', (bytes) => socket.messages.push(JSON.parse(bytes.toString())));
    socket.inner.on('close', (code, reason) => (socket.closed = { code, reason: reason.toString() }));
    return new Promise((done, fail) => {
      socket.inner.once('open', () => done(socket));
      socket.inner.once('unexpected-response', (_, response) => {
        fail(Object.assign(new Error(`upgrade answered ${response.statusCode}`), { status: response.statusCode }));
        response.resume();
      });
      socket.inner.once('error', fail);
    });
  }

  send(message) {
    this.inner.send(typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message));
  }

  /** The first message of a type from here on or before. */
  message(type, test = () => true, options = { within_ms: 5000, every_ms: 20 }) {
    return until(
      `a message ${type}`,
      () => {
        const found = this.messages.find((each) => each.type === type && test(each));
        if (!found) throw new Error(JSON.stringify({ closed: this.closed, last: this.messages.slice(-3) }));
        return found;
      },
      options,
    );
  }

  /** Sends a request and returns the one `ack` or `error` that answers it. */
  async request(type, data, { channel, id = `t-${Math.random().toString(36).slice(2)}` } = {}) {
    this.send({ type, data, metadata: { id, ...(channel && { channel }) } });
    return until(
      `the answer to ${type}`,
      () => {
        const found = this.messages.find(({ metadata }) => metadata?.reply_to === id);
        if (!found) throw new Error(JSON.stringify({ closed: this.closed, last: this.messages.slice(-3) }));
        return found;
      },
      { within_ms: 5000, every_ms: 20 },
    );
  }

  close() {
    this.inner.terminate();
  }
}
