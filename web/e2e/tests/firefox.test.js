// Firefox watches what Chromium publishes, and the other way round.

import { decodes, playsWithoutFreeze, publisherPage, viewerPage } from '../harness/media.js';
import { suite } from '../harness/suite.js';

// Pages come from 127.0.0.1, which browsers trust with a camera; media goes over the other address of the test's
// network namespace, because Firefox does not use 127.0.0.1 as a remote candidate.
const { scenario } = suite({
  name: 'firefox',
  browsers: ['chromium', 'firefox'],
  server: { env: { REDRED_AUTH__SECRET: 'a secret of the tests, 32 bytes and more', REDRED_SFU__LISTEN_IP: '10.77.0.1' } },
});

const publish = (codec) => ({
  source: { audio: true, video: { width: 640, height: 360 } },
  options: { codec, simulcast: false },
});

for (const codec of ['vp8', 'vp9']) {
  scenario(`Firefox watches what Chromium publishes in ${codec}`, async ({ t, server, open, openFirefox }) => {
    const stream = `to-firefox-${codec}`;
    await publisherPage(open, server, { stream, publish: publish(codec) });
    const viewer = await viewerPage(openFirefox, server, { stream, user: 'fox' });
    await decodes(viewer, { width: 640, height: 360, within_ms: 45_000 });
    t.diagnostic(JSON.stringify(await playsWithoutFreeze(viewer, { seconds: 5 })));
  });
}

scenario('Chromium watches what Firefox publishes', async ({ t, server, open, openFirefox }) => {
  const stream = 'from-firefox';
  await publisherPage(openFirefox, server, { stream, publish: publish('vp8') });
  const viewer = await viewerPage(open, server, { stream, user: 'vera' });
  await decodes(viewer, { width: 640, height: 360, codec: 'vp8', within_ms: 45_000 });
  t.diagnostic(JSON.stringify(await playsWithoutFreeze(viewer, { seconds: 5 })));
});
