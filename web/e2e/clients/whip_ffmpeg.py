"""Publishes over WHIP with FFmpeg's own muxer, the way `ffmpeg -f whip` does: H264 (x264) and Opus.

    whip_ffmpeg.py URL TOKEN [--seconds N] [--size WxH]

Prints one JSON object a line: `publishing` once the muxer has connected, `sent` every second, `ended`.
"""

import argparse
import datetime
import fractions
import json
import pathlib
import signal
import tempfile
import time

import av
import numpy
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FPS = 30
SAMPLE_RATE = 48_000
AUDIO_SAMPLES = 960
# FFmpeg's muxer ignores requests for keyframes, so they come by the clock.
KEYFRAME_EVERY = FPS


def say(event: str, **fields) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def certificate(folder: pathlib.Path) -> tuple[str, str]:
    """A P-256 certificate: the muxer's own is on a curve that few DTLS stacks take."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whip")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return str(cert_file), str(key_file)


def picture(width: int, height: int, number: int) -> av.VideoFrame:
    """A grey ramp that moves, so that every frame differs from the last."""
    row = (numpy.arange(width) + number * 4) % 256
    luma = numpy.tile(row, (height, 1)).astype(numpy.uint8)
    chroma = numpy.full((height // 2, width), 128, dtype=numpy.uint8)
    return av.VideoFrame.from_ndarray(numpy.vstack([luma, chroma]), format="yuv420p")


def tone(number: int) -> av.AudioFrame:
    at = numpy.arange(AUDIO_SAMPLES) + number * AUDIO_SAMPLES
    wave = (numpy.sin(at * 2 * numpy.pi * 440 / SAMPLE_RATE) * 8000).astype(numpy.int16)
    frame = av.AudioFrame.from_ndarray(numpy.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate = SAMPLE_RATE
    return frame


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--size", default="640x360")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))

    stopping = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.append(True))

    with tempfile.TemporaryDirectory() as folder:
        cert_file, key_file = certificate(pathlib.Path(folder))
        container = av.open(
            arguments.url,
            "w",
            format="whip",
            options={"authorization": arguments.token, "cert_file": cert_file, "key_file": key_file},
        )
        video = container.add_stream(
            "libx264",
            rate=FPS,
            options={
                "preset": "ultrafast",
                "tune": "zerolatency",
                "profile": "baseline",
                "bf": "0",
                "x264-params": f"keyint={KEYFRAME_EVERY}:scenecut=0:repeat-headers=1",
            },
        )
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.bit_rate = 800_000
        video.time_base = fractions.Fraction(1, FPS)
        audio = container.add_stream("libopus", rate=SAMPLE_RATE, options={"application": "audio"})
        audio.layout = "stereo"

        start, frames, sounds = time.monotonic(), 0, 0
        while not stopping and time.monotonic() - start < arguments.seconds:
            # Whichever is due first; both run by the same clock.
            if frames / FPS <= sounds * AUDIO_SAMPLES / SAMPLE_RATE:
                due, encoder, frame = frames / FPS, video, picture(width, height, frames)
                frame.pts, frame.time_base = frames, fractions.Fraction(1, FPS)
                frames += 1
            else:
                due, encoder, frame = sounds * AUDIO_SAMPLES / SAMPLE_RATE, audio, tone(sounds)
                frame.pts, frame.time_base = sounds * AUDIO_SAMPLES, fractions.Fraction(1, SAMPLE_RATE)
                sounds += 1
            time.sleep(max(0.0, start + due - time.monotonic()))
            for packet in encoder.encode(frame):
                container.mux(packet)
            if encoder is video and frames == 1:
                # The first write sets the connection up: the clock starts when it is there.
                start = time.monotonic()
                say("publishing")
            elif encoder is video and frames % FPS == 0:
                say("sent", frames=frames)
        container.close()
    say("ended", frames=frames)


main()
