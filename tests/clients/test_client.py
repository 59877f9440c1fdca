"""The Python client against a real service."""

from collections.abc import AsyncIterator

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import DetectorClient

from tests.servers import serving


async def frames(photo: bytes, count: int) -> AsyncIterator[pb.Frame]:
    """Return a few frames of one camera."""
    for number in range(count):
        yield pb.Frame(frame_id=str(number), encoded=photo)


async def test_one_image(photo: bytes) -> None:
    """An image in, a result out; settings of one's own apply."""
    async with serving() as running, DetectorClient(running.address) as client:
        result = await client.detect(photo)
        nobody = await client.detect(photo, settings=pb.DetectionSettings(confidence_threshold=1.0))
    assert result.crowd.face_count == len(result.faces) >= 1
    assert nobody.crowd.crowd_level == pb.CROWD_LEVEL_EMPTY


async def test_a_stream(photo: bytes) -> None:
    """Frames in, answers out in their order, a summary at the end."""
    config = pb.StreamConfig(camera="door", buffer_frames=8)
    async with serving() as running, DetectorClient(running.address) as client:
        responses = [response async for response in client.stream(frames(photo, 5), config)]
    assert responses[0].configured.camera == "door"
    assert [response.result.frame.frame_id for response in responses[1:-1]] == [
        "0",
        "1",
        "2",
        "3",
        "4",
    ]
    assert responses[-1].summary.results == 5


async def test_a_stream_that_is_left_early_is_ended(photo: bytes) -> None:
    """Who stops reading leaves nothing behind at the service."""
    from tests.servers import until

    async with serving() as running, DetectorClient(running.address) as client:
        responses = client.stream(frames(photo, 1000))
        async for response in responses:
            assert response.HasField("result")
            break
        await responses.aclose()  # type: ignore[attr-defined]  # it is an async generator
        await until(lambda: running.server.stats.active_streams == 0)


async def test_waiting_until_the_service_is_ready() -> None:
    """It is, once the models are loaded; until then the wait has an end."""
    async with serving(load=False) as running, DetectorClient(running.address) as client:
        with pytest.raises(TimeoutError):
            await client.wait_until_ready(0.3)
        await running.server.load()
        assert (await client.wait_until_ready(10)).face_model.loaded


async def test_a_refusal_is_raised() -> None:
    """With the service's own words."""
    async with serving() as running, DetectorClient(running.address) as client:
        with pytest.raises(grpc.aio.AioRpcError, match="not a JPEG, PNG or WebP image"):
            await client.detect(b"hello")
