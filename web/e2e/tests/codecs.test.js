// Chromium publishes its camera with each codec and another page decodes it for ten seconds without a freeze.

import { decodes, playsWithoutFreeze, publisherPage, viewerPage } from '../harness/media.js';
import { suite } from '../harness/suite.js';

const { scenario } = suite({ name: 'codecs' });

for (const codec of ['vp8', 'h264', 'vp9', 'av1']) {
  scenario(`a viewer decodes ${codec} for ten seconds without a freeze`, async ({ t, server, open }) => {
    const stream = `codec-${codec}`;
    await publisherPage(open, server, {
      stream,
      publish: {
        source: { audio: true, video: { width: 640, height: 360, frameRate: 30 } },
        options: { codec, simulcast: false },
      },
    });
    const viewer = await viewerPage(open, server, { stream, user: 'vera' });
    await decodes(viewer, { width: 640, height: 360, codec });
    t.diagnostic(JSON.stringify(await playsWithoutFreeze(viewer)));
  });
}
