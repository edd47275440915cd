// Chat over a wire that breaks: nothing is lost, nothing comes twice, everybody sees the same order.

import assert from 'node:assert/strict';

import { enter, hears, person, startDirect, texts, ticks, write } from '../harness/pages.js';
import { Proxy } from '../harness/proxy.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'comeback' });

/** Two people in a conversation, the second behind a wire that can be cut. */
async function pair({ server, open, defer }, [first, second]) {
  const wire = await Proxy.start(server);
  defer(() => wire.close());
  const ana = await person(open, server.url, first);
  await startDirect(ana, second.toLowerCase());
  await write(ana, 'hello');
  const ben = await person(open, wire.url, second);
  await enter(ben, first);
  await hears(ben, 'hello');
  return { ana, ben, wire };
}

async function agree(ana, ben, wanted) {
  await until('both see everything', async () => {
    const [a, b] = await Promise.all([texts(ana), texts(ben)]);
    if (a.length < wanted || b.length < wanted) throw new Error(`${a.length} and ${b.length} of ${wanted}`);
    return true;
  }, { within_ms: 40_000 });
  const [a, b] = await Promise.all([texts(ana), texts(ben)]);
  assert.deepEqual(a, b, 'the same order');
  assert.equal(new Set(a).size, a.length, 'nothing twice');
  assert.equal(a.length, wanted, 'nothing missing');
}

scenario('who was offline finds everything on return, and what they wrote goes out once', async (tools) => {
  const { ana, ben, wire } = await pair(tools, ['Ana', 'Ben']);
  wire.cut();
  await ben.waitForSelector('#connection-strip:visible');
  for (let n = 1; n <= 5; n += 1) await write(ana, `while you were away ${n}`);
  for (let n = 1; n <= 3; n += 1) await write(ben, `from the tunnel ${n}`);
  await ticks(ben, 'from the tunnel 3', 'sending');
  await ticks(ana, 'while you were away 5', 'sent');
  wire.mend();
  await ticks(ben, 'from the tunnel 3', 'read');
  await agree(ana, ben, 9);
  await ben.waitForSelector('#connection-strip', { state: 'hidden' });
  await ticks(ana, 'while you were away 5', 'read');
});

scenario('a browser that goes offline finds everything on return', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Asta');
  await startDirect(ana, 'bruna');
  await write(ana, 'hello');
  const ben = await person(open, server.url, 'Bruna');
  await enter(ben, 'Asta');
  await hears(ben, 'hello');
  await ben.context().setOffline(true);
  await ben.waitForSelector('#connection-strip:visible', { timeout: 60_000 });
  for (let n = 1; n <= 3; n += 1) await write(ana, `in the meantime ${n}`);
  await ticks(ana, 'in the meantime 3', 'sent');
  await ben.context().setOffline(false);
  await agree(ana, ben, 4);
});

scenario('a wire that flickers loses nothing', async (tools) => {
  const { ana, ben, wire } = await pair(tools, ['Arne', 'Bert']);
  for (let n = 1; n <= 30; n += 1) {
    await write(ben, `ben ${n}`);
    if (n % 5 === 0) wire.flicker();
    await write(ana, `ana ${n}`);
  }
  await agree(ana, ben, 61);
});

scenario('a server that is killed and comes back loses nothing', async ({ server, open }) => {
  const ana = await person(open, server.url, 'Aldo');
  await startDirect(ana, 'berta');
  await write(ana, 'hello');
  const ben = await person(open, server.url, 'Berta');
  await enter(ben, 'Aldo');
  await hears(ben, 'hello');
  for (let n = 1; n <= 10; n += 1) await Promise.all([write(ana, `aldo before ${n}`), write(ben, `berta before ${n}`)]);
  await server.stop('SIGKILL');
  for (let n = 1; n <= 3; n += 1) await Promise.all([write(ana, `aldo meanwhile ${n}`), write(ben, `berta meanwhile ${n}`)]);
  await server.launch();
  await agree(ana, ben, 27);
  await ana.reload();
  await hears(ana, 'berta meanwhile 3');
  await agree(ana, ben, 27);
});
