"""Watches over WHEP with aiortc, which decodes what it gets.

    whep_aiortc.py URL TOKEN [--seconds N]

Prints one JSON object a line: `answered` (status and headers of the WHEP exchange), `state`, `video` for the first
frame and then every second (frames so far, size), `audio` likewise, `ended`, or `refused` with the status.
"""

import argparse
import asyncio
import json
import signal
import time
from urllib.parse import urljoin

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError


def say(event: str, **fields) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


async def receive(track) -> None:
    frames, told = 0, 0.0
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        frames += 1
        if frames == 1 or time.monotonic() - told >= 1:
            told = time.monotonic()
            size = {"width": frame.width, "height": frame.height} if track.kind == "video" else {}
            say(track.kind, frames=frames, **size)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    peer = RTCPeerConnection()
    peer.addTransceiver("audio", direction="recvonly")
    peer.addTransceiver("video", direction="recvonly")
    tasks = []
    peer.on("track", lambda track: tasks.append(asyncio.ensure_future(receive(track))))

    @peer.on("connectionstatechange")
    def _() -> None:
        say("state", state=peer.connectionState)
        if peer.connectionState in ("failed", "closed"):
            stopping.set()

    await peer.setLocalDescription(await peer.createOffer())
    headers = {"Authorization": f"Bearer {arguments.token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(
            arguments.url, data=peer.localDescription.sdp, headers={"Content-Type": "application/sdp"}
        ) as answer:
            text = await answer.text()
            if answer.status != 201:
                say("refused", status=answer.status, body=text)
                await peer.close()
                return
            location = urljoin(arguments.url, answer.headers["Location"])
            say("answered", status=answer.status, location=location, etag=answer.headers.get("ETag"))
        await peer.setRemoteDescription(RTCSessionDescription(text, "answer"))
        try:
            await asyncio.wait_for(stopping.wait(), arguments.seconds)
        except asyncio.TimeoutError:
            pass
        async with http.delete(location) as answer:
            say("deleted", status=answer.status)
    await peer.close()
    for task in tasks:
        task.cancel()
    say("ended")


asyncio.run(main())
