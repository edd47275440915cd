// Scalable video in one stream (L3T3): a viewer gets all of it and decodes its best layer, or the layers it asks for.

import assert from 'node:assert/strict';

import { decodes, events, goesOn, playsSteadily, playsWithoutFreeze, received, viewerPage } from '../harness/media.js';
import { suite } from '../harness/suite.js';
import { until } from '../harness/wait.js';

const { scenario } = suite({ name: 'svc' });

for (const codec of ['VP9', 'AV1']) {
  scenario(`${codec} with three spatial and three temporal layers decodes, and in the layer that was chosen`, async ({ t, server, open }) => {
    const stream = `svc-${codec.toLowerCase()}`;
    const publisher = await open({ name: 'publisher' });
    await publisher.goto(`${server.url}/sdk/redred.js`);
    const token = await server.token({ sub: 'ana', grants: { publish: [stream] } });
    // The SDK sends simulcast; layers inside one stream are what other WHIP publishers send.
    await publisher.evaluate(
      async ([url, bearer, name]) => {
        const media = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
        const peer = new RTCPeerConnection();
        const transceiver = peer.addTransceiver(media.getVideoTracks()[0], {
          direction: 'sendonly',
          sendEncodings: [{ scalabilityMode: 'L3T3', maxBitrate: 2_000_000 }],
        });
        const { codecs } = RTCRtpSender.getCapabilities('video');
        transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === `video/${name}`));
        await peer.setLocalDescription();
        const answer = await fetch(url, {
          method: 'POST',
          headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/sdp' },
          body: peer.localDescription.sdp,
        });
        if (answer.status !== 201) throw new Error(`WHIP: ${answer.status} ${await answer.text()}`);
        await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
      },
      [`${server.url}/whip/${stream}`, token, codec],
    );
    const viewer = await viewerPage(open, server, { stream, user: 'vera' });
    await decodes(viewer, { width: 640, height: 360, codec: codec.toLowerCase(), within_ms: 45_000 });
    t.diagnostic(JSON.stringify(await playsWithoutFreeze(viewer, { seconds: 5 })));

    const whole = (await received(viewer)).frameWidth;
    for (const [quality, share] of [['low', 4], ['medium', 2], ['low', 4], ['high', 1]]) {
      await viewer.evaluate((wanted) => globalThis.client.viewer.setQuality(wanted), quality);
      await until(`${quality} is ${1280 / share} wide`, async () => {
        const { frameWidth } = await received(viewer);
        // The publisher's browser changes the size of its picture as it sees fit.
        if (quality === 'high' ? frameWidth >= whole / 2 + 1 : Math.abs(frameWidth * share - 1280) < 8) return true;
        throw new Error(`${frameWidth} of ${whole}`);
      });
      await goesOn(viewer);
      const told = await until(`quality_changed for ${quality}`, async () => (await events(viewer, 'quality')).at(-1));
      t.diagnostic(`${quality}: ${JSON.stringify(told.data.layer)} (${told.data.reason})`);
      t.diagnostic(await playsSteadily(viewer, { seconds: 3 }));
    }
    assert.equal(await viewer.evaluate(() => globalThis.peers.length), 1, 'the viewer never reconnected');
  });
}
