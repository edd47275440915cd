// @ts-check
/** @file What goes out: camera or screen, microphone, and whether each is on. */

import { isPermitted, listDevices, openDevice, openScreen } from './devices.js';
import { describe } from './faults.js';
import { t } from './i18n.js';
import { byId, setIcon } from './ui/dom.js';
import { openMenu } from './ui/menu.js';

/** @typedef {import('../sdk/redred.js').Publisher} Publisher */
/** @typedef {import('../sdk/redred.js').RedredError} RedredError */

const CAMERA = 'redred.camera';
const MICROPHONE = 'redred.microphone';

export class Booth {
  /** What is sent, and shown in the preview. */
  media = new MediaStream();
  /** @type {Publisher | null} */
  #publisher = null;
  /** @type {MediaStreamTrack | null} */
  #camera = null;
  /** @type {MediaStreamTrack | null} */
  #microphone = null;
  /** @type {MediaStreamTrack | null} */
  #screen = null;
  #isCameraOff = false;
  #isMicOff = false;
  #showFault;
  #video = /** @type {HTMLVideoElement} */ (byId('video'));
  /** @type {AudioContext | null} */
  #audio = null;

  /** @param {(text: string | null) => void} showFault */
  constructor(showFault) {
    this.#showFault = showFault;
    byId('open-devices').addEventListener('click', () => void this.open());
    byId('camera').addEventListener('click', () => void this.#toggleCamera());
    byId('mic').addEventListener('click', () => void this.#toggleMic());
    byId('screen').addEventListener('click', () => void this.#toggleScreen());
    byId('camera-menu').addEventListener('click', () => void this.#openChoice('camera'));
    byId('mic-menu').addEventListener('click', () => void this.#openChoice('microphone'));
    this.#show();
    void isPermitted().then((permitted) => permitted && this.open());
  }

  get isReady() {
    return this.media.getTracks().length > 0;
  }

  /** From now on changes are sent as well. @param {Publisher | null} publisher */
  async attach(publisher) {
    this.#publisher = publisher;
    if (!publisher) return;
    if (this.#isMicOff) await publisher.mute('audio');
    if (this.#isCameraOff && !this.#screen) await publisher.mute('video');
  }

  /** Opens camera and microphone; one of them is enough. */
  async open() {
    this.#showFault(null);
    const [camera, microphone] = await Promise.allSettled([
      this.#camera ?? this.#openRemembered('camera', CAMERA),
      this.#microphone ?? this.#openRemembered('microphone', MICROPHONE),
    ]);
    if (camera.status === 'fulfilled') this.#useCamera(camera.value);
    if (microphone.status === 'fulfilled') this.#useMicrophone(microphone.value);
    const failed = [camera, microphone].find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') this.#showFault(describe(failed.reason));
    await this.#sendPicture();
    await this.#sendSound();
    return this.isReady;
  }

  close() {
    for (const track of [this.#camera, this.#microphone, this.#screen]) track?.stop();
  }

  /**
   * @param {'camera' | 'microphone'} source
   * @param {string} key
   */
  async #openRemembered(source, key) {
    const id = localStorage.getItem(key);
    if (!id) return openDevice(source);
    try {
      return await openDevice(source, id);
    } catch (error) {
      if (/** @type {RedredError} */ (error).code !== `no_${source}`) throw error;
      // It is unplugged today: any other will do.
      return openDevice(source);
    }
  }

  /** @param {MediaStreamTrack} track */
  #useCamera(track) {
    if (this.#camera !== track) this.#camera?.stop();
    this.#camera = track;
    this.#isCameraOff = false;
    track.onended = () => this.#handleLost('camera');
  }

  /** @param {MediaStreamTrack} track */
  #useMicrophone(track) {
    if (this.#microphone !== track) this.#microphone?.stop();
    this.#microphone = track;
    track.onended = () => this.#handleLost('microphone');
    this.#measure(track);
  }

  /** It was unplugged, or another program took it. @param {'camera' | 'microphone'} source */
  #handleLost(source) {
    this.#showFault(t(`studio.lost_${source}`));
    if (source === 'camera') {
      this.#camera = null;
      void this.#sendPicture();
    } else {
      this.#microphone = null;
      void this.#sendSound();
    }
  }

  async #toggleMic() {
    if (!this.#microphone) return void (await this.open());
    this.#isMicOff = !this.#isMicOff;
    await this.#sendSound();
  }

  /** Off means off: the light of the camera goes out as well. */
  async #toggleCamera() {
    if (this.#isCameraOff || !this.#camera) {
      await this.#attempt(async () => this.#useCamera(await this.#openRemembered('camera', CAMERA)));
    } else {
      this.#isCameraOff = true;
      this.#camera.onended = null;
      this.#camera.stop();
    }
    await this.#sendPicture();
  }

  async #toggleScreen() {
    if (this.#screen) {
      this.#screen.stop();
      this.#screen = null;
    } else {
      await this.#attempt(async () => {
        const screen = await openScreen();
        this.#screen = screen;
        // The browser's own "stop sharing" button.
        screen.onended = () => {
          if (this.#screen !== screen) return;
          this.#screen = null;
          void this.#sendPicture();
        };
      });
    }
    await this.#sendPicture();
  }

  /** @param {'camera' | 'microphone'} source */
  async #openChoice(source) {
    const isCamera = source === 'camera';
    const anchor = byId(isCamera ? 'camera-menu' : 'mic-menu');
    const { cameras, microphones } = await listDevices();
    const current = (isCamera ? this.#camera : this.#microphone)?.getSettings().deviceId;
    const devices = isCamera ? cameras : microphones;
    const label = t(isCamera ? 'studio.choose_camera' : 'studio.choose_mic');
    if (devices.length === 0) return this.#showFault(t(isCamera ? 'fault.no_camera' : 'fault.no_microphone'));
    openMenu(
      anchor,
      label,
      devices.map((device, index) => ({
        label: device.label || t(isCamera ? 'studio.camera_n' : 'studio.mic_n', { n: index + 1 }),
        checked: device.deviceId === current,
        select: () => void this.#choose(source, device.deviceId),
      })),
    );
  }

  /**
   * @param {'camera' | 'microphone'} source
   * @param {string} deviceId
   */
  async #choose(source, deviceId) {
    await this.#attempt(async () => {
      const track = await openDevice(source, deviceId);
      localStorage.setItem(source === 'camera' ? CAMERA : MICROPHONE, deviceId);
      if (source === 'camera') this.#useCamera(track);
      else this.#useMicrophone(track);
    });
    await this.#sendPicture();
    await this.#sendSound();
  }

  /** @param {() => Promise<void>} work */
  async #attempt(work) {
    this.#showFault(null);
    try {
      await work();
    } catch (error) {
      this.#showFault(/** @type {RedredError} */ (error).code === 'screen_dismissed' ? null : describe(error));
    }
  }

  async #sendPicture() {
    const track = this.#screen ?? (this.#isCameraOff ? null : this.#camera);
    await this.#send('video', track);
  }

  async #sendSound() {
    await this.#send('audio', this.#microphone, this.#isMicOff);
  }

  /**
   * @param {'audio' | 'video'} kind
   * @param {MediaStreamTrack | null} track
   * @param {boolean} [isMuted]
   */
  async #send(kind, track, isMuted = false) {
    for (const old of this.media.getTracks()) {
      if (old.kind === kind && old !== track) this.media.removeTrack(old);
    }
    if (track) this.media.addTrack(track);
    // Not earlier: an element that waits for its first picture keeps the whole page "loading".
    if (kind === 'video' && track && !this.#video.srcObject) this.#video.srcObject = this.media;
    this.#show();
    const publisher = this.#publisher;
    if (!publisher) return;
    await this.#attempt(async () => {
      if (track) await publisher.replaceTrack(track);
      if (track && !isMuted) await publisher.unmute(kind);
      else await publisher.mute(kind);
    });
  }

  /** A silent microphone is the commonest trouble of all: show that it hears. @param {MediaStreamTrack} track */
  #measure(track) {
    void this.#audio?.close();
    const audio = new AudioContext();
    this.#audio = audio;
    const analyser = audio.createAnalyser();
    analyser.fftSize = 512;
    audio.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const meter = byId('meter');
    const draw = () => {
      if (this.#audio !== audio) return;
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      // From -60 dB, a quiet room, to 0.
      const level = this.#isMicOff ? 0 : Math.max(0, 1 + (10 * Math.log10(power + 1e-9)) / 60);
      meter.style.setProperty('--level', `${Math.round(level * 100)}%`);
      requestAnimationFrame(draw);
    };
    draw();
  }

  #show() {
    const hasCamera = this.#camera !== null && !this.#isCameraOff;
    const preview = byId('preview');
    preview.classList.toggle('mirror', hasCamera && !this.#screen);
    preview.classList.toggle('dark', !hasCamera && !this.#screen);
    byId('invite').hidden = this.isReady || this.#isCameraOff;
    press('camera', !hasCamera, t(hasCamera ? 'studio.camera_off' : 'studio.camera_on'), hasCamera ? 'camera' : 'camera-off');
    const hasSound = this.#microphone !== null && !this.#isMicOff;
    press('mic', !hasSound, t(hasSound ? 'studio.mute_mic' : 'studio.unmute_mic'), hasSound ? 'mic' : 'mic-off');
    const screenText = t(this.#screen ? 'studio.stop_screen' : 'studio.share_screen');
    press('screen', this.#screen !== null, screenText, 'screen');
    byId('screen-text').textContent = screenText;
  }
}

/**
 * @param {string} id
 * @param {boolean} isPressed
 * @param {string} label
 * @param {string} symbol
 */
function press(id, isPressed, label, symbol) {
  const button = byId(id);
  button.setAttribute('aria-pressed', String(isPressed));
  button.setAttribute('aria-label', label);
  button.title = label;
  setIcon(button, symbol);
}
