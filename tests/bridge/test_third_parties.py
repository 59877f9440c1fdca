"""Clients that are not ours: wscat, and the browser's own WebSocket."""

import asyncio
import base64
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from bridge import protocols
from tests.bridge.bridges import RunningBridge, fake_and_bridge

SPEAK = """
async ([url, subprotocols, messages, count]) => {
  const socket = new WebSocket(url, subprotocols);
  socket.binaryType = "arraybuffer";
  const received = [];
  return await new Promise((resolve) => {
    const end = (code) => resolve({received, code, chosen: socket.protocol});
    socket.onclose = (event) => end(event.code);
    socket.onmessage = (event) => {
      received.push(JSON.parse(event.data));
      if (received.length === 1) messages.forEach((each) => socket.send(each));
      if (received.length === count) { socket.onclose = null; socket.close(); end(0); }
    };
  });
}
"""
PICTURE = """
() => {
  const canvas = document.createElement("canvas");
  canvas.width = 64; canvas.height = 48;
  canvas.getContext("2d").fillRect(8, 8, 16, 16);
  return canvas.toDataURL("image/jpeg");
}
"""
SPEAK_BINARY = """
async ([url, subprotocol]) => {
  const canvas = document.createElement("canvas");
  const image = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg"));
  const header = new TextEncoder().encode('{"event": "process_frame", "data": {"frame_id": "b"}}');
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, header.length);
  const socket = new WebSocket(url, subprotocol);
  return await new Promise((resolve) => {
    let events = 0;
    socket.onmessage = (event) => {
      events += 1;
      if (events === 1) socket.send(new Blob([length, header, image]));
      else resolve(JSON.parse(event.data));
    };
  });
}
"""


@contextlib.asynccontextmanager
async def page_at(host: str) -> AsyncIterator[Page]:
    """Open an empty page of an origin of its own in a browser."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n")
            writer.write(b"Connection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    async with server, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*options, f"--host-resolver-rules=MAP {host} 127.0.0.1"],
        )
        try:
            page = await browser.new_page()
            await page.goto(f"http://{host}:{port}/")
            yield page
        finally:
            await browser.close()


async def speak(
    page: Page, bridge: RunningBridge, subprotocols: list[str], messages: list[Any], count: int
) -> Any:
    """Have the page connect, send, and take so many events."""
    texts = [json.dumps(message) for message in messages]
    return await page.evaluate(SPEAK, [bridge.url, subprotocols, texts, count])


@pytest.mark.needs("chromium", "chromium")
async def test_a_browser(tmp_path: Path) -> None:
    """A picture of a canvas as a data: URL, in base64 and as a Blob; a token by subprotocol."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    bearer = "bearer." + base64.urlsafe_b64encode(b"secret").decode().rstrip("=")
    async with page_at("localhost") as page:
        async with fake_and_bridge() as (detector, bridge):
            picture = await page.evaluate(PICTURE)
            frame = {"event": "process_frame", "data": {"frame": picture, "frame_id": "a"}}
            done = await speak(page, bridge, [], [frame, {"event": "dance"}], 3)
            assert [event["event"] for event in done["received"]] == [
                "connected",
                "detection_result",
                "error",
            ]
            assert detector.frames[0].encoded.startswith(b"\xff\xd8")
            assert detector.frames[0].frame_id == "a"
            answer = await page.evaluate(SPEAK_BINARY, [bridge.url, protocols.JSON_BINARY])
            assert answer["data"]["frame"]["frame_id"] == "b"
            assert detector.frames[1].encoded.startswith(b"\xff\xd8")
        async with fake_and_bridge(auth_tokens_file=tokens) as (_, bridge):
            done = await speak(page, bridge, [protocols.JSON, bearer], [frame], 2)
            assert done["chosen"] == protocols.JSON
            assert done["received"][1]["event"] == "detection_result"
            done = await speak(page, bridge, [protocols.JSON, bearer + "x"], [], 9)
            assert done["code"] == 1008
            assert done["received"][0]["data"]["code"] == "UNAUTHORIZED"


@pytest.mark.needs("chromium", "chromium")
async def test_a_page_of_another_origin() -> None:
    """The browser does not get its WebSocket; with the origin allowed, it does."""
    async with page_at("evil.example") as page:
        async with fake_and_bridge() as (_, bridge):
            done = await speak(page, bridge, [], [], 1)
            assert (done["received"], done["code"]) == ([], 1006)
        origin = await page.evaluate("location.origin")
        async with fake_and_bridge(allowed_origins=origin) as (_, bridge):
            done = await speak(page, bridge, [], [], 1)
            assert done["received"][0]["event"] == "connected"


@pytest.mark.needs("wscat", "npm && npm install --global wscat")
async def test_wscat() -> None:
    """A line is a message, an event is a line."""
    async with fake_and_bridge() as (detector, bridge):
        process = await asyncio.create_subprocess_exec(
            "wscat",
            "--no-color",
            "--connect",
            bridge.url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        frame = {"event": "process_frame", "data": {"frame": base64.b64encode(b"image").decode()}}
        seen = b""
        try:
            async with asyncio.timeout(30):
                while b'"connected"' not in seen:
                    seen += await process.stdout.read(1000)
                process.stdin.write(json.dumps(frame).encode() + b"\n")
                while b'"detection_result"' not in seen:
                    seen += await process.stdout.read(1000)
        finally:
            process.kill()
            await process.wait()
        assert detector.frames[0].encoded == b"image"
