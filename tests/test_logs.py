"""What both processes write about a day's work: every line is one that docs/operations.md describes."""

import asyncio
import base64
import signal
from pathlib import Path

import pytest
from crowd.detector.v1 import detector_pb2 as pb

from tests.bridge.bridges import client
from tests.log_lines import check
from tests.servers import connected, service_process

TOKEN = "a-token-that-nobody-may-read"


async def test_every_line_of_both_processes_is_as_described(photo: bytes, tmp_path: Path) -> None:
    """Good frames, bad ones, refused calls and messages; on the standard error as in the files."""
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    async with service_process(AUTH_TOKENS_FILE=str(tokens)) as detector:
        await detector.serves()
        async with service_process(
            module="bridge",
            DETECTOR_ADDRESS=detector.address,
            DETECTOR_TOKEN_FILE=str(tokens),
            AUTH_TOKENS_FILE=str(tokens),
        ) as bridge:
            await bridge.serves("bridge.serving")
            await _call(detector.address, photo)
            await _browse(f"ws://{bridge.address}/ws", photo)
            bridge.signal(signal.SIGTERM)
            assert await bridge.ended() == 0
            of_bridge = bridge.log.with_name("app.bridge.log").read_text()
        detector.signal(signal.SIGTERM)
        assert await detector.ended() == 0
        of_detector = detector.log.read_text()
    for text, errors in ((of_detector, detector.errors), (of_bridge, bridge.errors)):
        assert check(text) == check(errors)
        assert TOKEN not in text
        assert base64.b64encode(photo)[100:200].decode() not in text
    lines = check(of_detector)
    served = [line for line in lines if line["event"] == "service.performance"]
    assert sum(line["frames_processed"] for line in served) == 3
    assert sum(line["frames_failed"].get("UNSUPPORTED_IMAGE", 0) for line in served) == 13
    bad = [line for line in lines if line["event"] == "frame.refused"]
    assert sum(line.get("repeated", 1) for line in bad) == 13
    assert len(bad) < 13
    ended = {line["camera"]: line for line in lines if line["event"] == "stream.ended"}
    assert ended["door"]["stream"] == bad[0]["stream"]
    assert ended["door"]["reason"] == "COMPLETED"
    assert {line["call"] for line in lines if line["event"] == "call.refused"} == {
        "Detect",
        "GetStats",
    }
    lines = check(of_bridge)
    done = [line for line in lines if line["event"] == "bridge.performance"]
    counts = {
        name: sum(line[name] for line in done) for name in ("connections", "frames", "results")
    }
    assert counts == {"connections": 1, "frames": 2, "results": 1}
    assert {code for line in done for code in line["refused"]} == {
        "UNKNOWN_EVENT",
        "UNAUTHORIZED",
        "UNSUPPORTED_IMAGE",
    }
    (left,) = [line for line in lines if line["event"] == "session.ended"]
    (refused,) = [line for line in lines if line["event"] == "message.refused"]
    assert refused["stream"] == left["stream"]
    assert left["camera"] == "gate"


async def _call(address: str, photo: bytes) -> None:
    known = (("authorization", f"Bearer {TOKEN}"),)
    async with connected(address) as stub:
        call = stub.StreamDetections(metadata=known)
        config = pb.StreamConfig(camera="door", buffer_frames=32)
        await call.write(pb.StreamDetectionsRequest(config=config))
        for image in (photo, *[b"\xff\xd8 no image"] * 11):
            await call.write(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=image)))
        await call.done_writing()
        answers = [response async for response in call]
        assert answers[-1].summary == pb.StreamSummary(frames_received=12, results=1, errors=11)
        await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)), metadata=known)
        with pytest.raises(Exception, match="not a JPEG"):
            await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=b"?")), metadata=known)
        with pytest.raises(Exception, match="a token is needed"):
            await stub.GetStats(pb.GetStatsRequest())


async def _browse(url: str, photo: bytes) -> None:
    known = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    async with client(url, subprotocols=["crowd-detector.v1.json", f"bearer.{known}"]) as browser:
        await browser.send("configure", {"camera": "gate"})
        assert (await browser.receive())[0] == "configured"
        await browser.send_frame(photo)
        await browser.result()
        await browser.send_frame(b"\xff\xd8 no image")
        assert (await browser.error())["code"] == "UNSUPPORTED_IMAGE"
        await browser.send("guess", {"token": TOKEN})
        assert (await browser.error())["code"] == "UNKNOWN_EVENT"
    async with client(url, welcome=False) as stranger:
        await stranger.send("authenticate", {"token": "guessed"})
        await stranger.error()
        async with asyncio.timeout(30):
            await stranger.closed()
