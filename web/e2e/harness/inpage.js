// Runs in every page before its own scripts: keeps hold of the page's WebRTC connections so that tests can read their
// statistics, and gives tests a publisher and a viewer made of the real SDK.

export function instrument() {
  const Native = globalThis.RTCPeerConnection;
  if (!Native || globalThis.peers) return;
  const peers = (globalThis.peers = []);
  globalThis.RTCPeerConnection = class RTCPeerConnection extends Native {
    constructor(...args) {
      super(...args);
      peers.push(this);
    }
  };

  /** Statistics of one type, over the connections that are still open. */
  async function stats(type, kind) {
    const found = [];
    for (const peer of peers.filter((each) => each.connectionState !== 'closed')) {
      const report = await peer.getStats();
      for (const entry of report.values()) {
        if (entry.type !== type || entry.kind !== kind) continue;
        found.push({ ...entry, codec: report.get(entry.codecId)?.mimeType?.split('/')[1] });
      }
    }
    return found;
  }

  /** What the page receives: the newest track of a kind that has decoded something, else the newest. */
  globalThis.received = async (kind = 'video') => {
    const all = await stats('inbound-rtp', kind);
    return all.findLast((each) => each.framesDecoded || each.totalSamplesReceived) ?? all.at(-1) ?? null;
  };

  globalThis.sent = (kind = 'video') => stats('outbound-rtp', kind);

  const seen = { frames: 0, gap: 0, last: 0 };
  /** Counts the frames that the page's video element shows, and the longest time between two of them. */
  globalThis.frames = {
    start(video = document.querySelector('video')) {
      Object.assign(seen, { frames: 0, gap: 0, last: performance.now(), width: 0, height: 0 });
      const turn = (seen.turn = (seen.turn ?? 0) + 1);
      const count = (now, { width, height }) => {
        if (turn !== seen.turn) return;
        seen.frames += 1;
        seen.gap = Math.max(seen.gap, now - seen.last);
        Object.assign(seen, { last: now, width, height });
        video.requestVideoFrameCallback(count);
      };
      video.requestVideoFrameCallback(count);
    },
    read: () => ({ ...seen, gap: Math.max(seen.gap, performance.now() - seen.last) }),
  };

  // --- a client of the SDK on a page without the app ---

  const client = (globalThis.client = { events: [], states: [] });

  client.join = async ({ token, stream }) => {
    const sdk = await import('/sdk/redred.js');
    client.connection = new sdk.Connection({ token });
    client.connection.on('closed', (event) => client.events.push({ type: 'closed', data: event }));
    client.live = new sdk.LiveChannel(client.connection, stream);
    for (const type of CHANNEL_EVENTS) {
      client.live.on(type, (data) => client.events.push({ type, data: JSON.parse(JSON.stringify(data ?? null)) }));
    }
    const active = new Promise((done, fail) => {
      client.live.on('subscribed', done);
      client.live.on('refused', (error) => fail(new Error(`refused: ${error.code} ${error.message}`)));
    });
    client.live.subscribe();
    await client.connection.connect();
    await active;
    return client.connection.session.user_id;
  };

  const CHANNEL_EVENTS = [
    'stream_started',
    'stream_ended',
    'stream_updated',
    'tracks_changed',
    'viewers_update',
    'user_joined',
    'user_left',
    'comment',
    'comment_deleted',
    'user_moderated',
    'room_settings',
    'role_changed',
    'reactions_update',
    'stream_stats',
    'quality_changed',
    'watch_unavailable',
    'media_closed',
    'refused',
  ];

  /** A canvas that shows the time as blocks of black and white; see `clock` below. */
  client.canvas = (width, height, fps = 30) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d');
    const draw = () => {
      clock.draw(context, width, height, Date.now());
      client.drawing = requestAnimationFrame(draw);
    };
    draw();
    return canvas.captureStream(fps);
  };

  client.camera = (constraints) => navigator.mediaDevices.getUserMedia(constraints);

  client.publish = async ({ source = { audio: true, video: { width: 1280, height: 720 } }, canvas, options }) => {
    client.media = canvas ? client.canvas(...canvas) : await client.camera(source);
    client.publisher = client.live.publish(client.media, { title: 'a test', ...options });
    client.publisher.on('state', ({ state, error }) => client.states.push({ publisher: state, error: error?.code }));
    await client.publisher.start();
  };

  client.watch = (options = {}) => {
    client.viewer = client.live.watch(options);
    client.viewer.on('state', ({ state, error }) => client.states.push({ viewer: state, error: error?.code }));
    client.viewer.on('quality', (data) => client.events.push({ type: 'quality', data }));
    client.viewer.on('unavailable', (data) => client.events.push({ type: 'unavailable', data }));
    const video = Object.assign(document.createElement('video'), { autoplay: true, muted: true, playsInline: true });
    video.srcObject = client.viewer.media;
    (document.body ?? document.documentElement).append(video);
    client.viewer.start();
  };

  /** Milliseconds as 32 blocks, most significant first, between two marks that tell black from white. */
  const clock = (globalThis.clock = {
    columns: 8,
    rows: 4,
    draw(context, width, height, value) {
      const bits = BigInt(value) & 0xffffffffn;
      const [w, h] = [width / clock.columns, height / clock.rows];
      for (let index = 0; index < 32; index += 1) {
        context.fillStyle = (bits >> BigInt(31 - index)) & 1n ? '#fff' : '#000';
        context.fillRect((index % clock.columns) * w, Math.floor(index / clock.columns) * h, w, h);
      }
    },
    read(context, width, height) {
      let bits = 0n;
      const [w, h] = [width / clock.columns, height / clock.rows];
      for (let index = 0; index < 32; index += 1) {
        const x = Math.floor((index % clock.columns) * w + w / 2);
        const y = Math.floor(Math.floor(index / clock.columns) * h + h / 2);
        const [red, green, blue] = context.getImageData(x, y, 1, 1).data;
        bits = (bits << 1n) | (red + green + blue > 384 ? 1n : 0n);
      }
      return Number(bits);
    },
    /** Milliseconds from drawing to showing, for each of `count` frames of the page's video. */
    measure: (count, video = document.querySelector('video')) =>
      new Promise((done) => {
        const delays = [];
        const canvas = document.createElement('canvas');
        const context = canvas.getContext('2d', { willReadFrequently: true });
        const take = () => {
          const now = Date.now() % 2 ** 32;
          canvas.width = video.videoWidth;
          canvas.height = video.videoHeight;
          context.drawImage(video, 0, 0);
          const delay = now - clock.read(context, canvas.width, canvas.height);
          // A block read across an edge of two frames gives nonsense, not a delay.
          if (delay >= 0 && delay < 10_000) delays.push(delay);
          if (delays.length >= count) done(delays);
          else video.requestVideoFrameCallback(take);
        };
        video.requestVideoFrameCallback(take);
      }),
  });

  globalThis.report = () => ({
    peers: peers.map((peer) => `${peer.connectionState}/${peer.iceConnectionState}/${peer.signalingState}`),
    videos: [...document.querySelectorAll('video')].map((video) => ({
      size: `${video.videoWidth}x${video.videoHeight}`,
      at: video.currentTime,
      paused: video.paused,
      ready: video.readyState,
    })),
    states: client.states,
    events: client.events.filter(({ type }) => !['stream_stats', 'viewers_update'].includes(type)).slice(-12),
    text: document.body?.innerText?.slice(0, 400),
  });
}
