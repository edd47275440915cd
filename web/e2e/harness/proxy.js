// A wire between browser and server that a test can cut and mend.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Proxy {
  /** @param {import('./server.js').Server} server */
  static async start(server) {
    const proxy = new Proxy();
    proxy.sockets = new Set();
    proxy.isCut = false;
    proxy.inner = createServer((near) => {
      if (proxy.isCut) return near.destroy();
      const far = connect(server.port, server.host);
      for (const [from, to] of [[near, far], [far, near]]) {
        proxy.sockets.add(from);
        from.pipe(to);
        from.on('error', () => {});
        from.on('close', () => {
          proxy.sockets.delete(from);
          to.destroy();
        });
      }
    }).listen(0, '127.0.0.1');
    await once(proxy.inner, 'listening');
    proxy.url = `http://127.0.0.1:${proxy.inner.address().port}`;
    return proxy;
  }

  /** Breaks what is open and refuses what comes, until `mend`. */
  cut() {
    this.isCut = true;
    this.flicker();
  }

  mend() {
    this.isCut = false;
  }

  /** Breaks what is open; what comes passes. */
  flicker() {
    for (const socket of this.sockets) socket.destroy();
  }

  async close() {
    this.cut();
    this.inner.close();
  }
}
