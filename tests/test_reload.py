"""New weights take over between two frames; bad ones leave those that serve."""

import asyncio
import signal
import threading
import weakref
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import onnx
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import AsyncDetectorClient, Result

from detector_service.detection.detector import Detector
from detector_service.detection.model_files import content_hash, embedded_model
from detector_service.errors import ModelError
from detector_service.frames.pixels import Image
from detector_service.pipeline import Pipeline
from tests.servers import Process, connected, service_process, serving, until


def swapped(target: Path) -> None:
    """Write the shipped model over a file, faces and people exchanged."""
    model = onnx.load(embedded_model())
    for entry in model.metadata_props:
        if entry.key == "names":
            entry.value = "{0: 'face', 1: 'person'}"
    onnx.save(model, target)


def truncated(target: Path) -> None:
    """Cut a file short."""
    target.write_bytes(target.read_bytes()[:1000])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of the shipped model."""
    copy = tmp_path / "both.onnx"
    copy.write_bytes(embedded_model().read_bytes())
    return copy


async def test_new_weights_take_over_between_two_frames(path: Path, photo: bytes) -> None:
    """No frame of a stream is lost or fails; first come the old model's answers, then the new one's."""
    enough = asyncio.Event()

    async def frames() -> AsyncIterator[bytes]:
        while not enough.is_set():
            yield photo

    async with (
        serving(face_model_path=path, body_model_path=path, workers=2) as running,
        AsyncDetectorClient(running.address) as client,
        connected(running.address) as stub,
    ):
        stream = client.stream(frames(), when_full="wait")
        exchanged: list[bool] = []  # a face is smaller than its body
        reloading: asyncio.Task[object] | None = None
        async for result in stream:
            assert isinstance(result, Result)
            face, body = result.faces[0].box, result.bodies[0].box
            exchanged.append(face.x2 - face.x1 > body.x2 - body.x1)
            if len(exchanged) == 5:
                swapped(path)
                reloading = asyncio.create_task(running.server.reload())
            if reloading is not None and reloading.done() and not enough.is_set():
                enough.set()
                await reloading
        info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    assert (exchanged[0], exchanged[-1]) == (False, True)
    changes = sum(one != other for one, other in pairwise(exchanged))
    assert changes <= 3  # of two workers, one may be a frame late
    assert stream.summary.results == len(exchanged)
    assert list(info.face_model.classes) == ["face", "person"]
    assert info.face_model.content_sha256 == content_hash(path)


async def test_the_old_models_are_freed(path: Path, photo: bytes) -> None:
    """Those of the start too, and although some workers have nothing to do."""
    async with (
        serving(face_model_path=path, body_model_path=path, workers=3) as running,
        connected(running.address) as stub,
    ):
        frame = pb.DetectRequest(frame=pb.Frame(encoded=photo))
        await asyncio.gather(*(stub.Detect(frame) for _ in range(6)))
        assert running.server._detector is not None
        old = weakref.ref(running.server._detector)
        await running.server.reload()
        await until(lambda: old() is None)


async def test_a_reload_that_is_cut_short_leaves_models_that_answer(
    path: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the service is told to end: what it has accepted is answered by models that are not closed."""
    entered, leave = threading.Event(), threading.Event()
    decode, close = Pipeline.decode, Detector.close
    closed: list[Detector] = []

    def held_up(self: Pipeline, frame: pb.Frame) -> Image:
        entered.set()
        assert leave.wait(20)
        return decode(self, frame)

    def noted(self: Detector) -> None:
        closed.append(self)
        close(self)

    async with (
        serving(face_model_path=path, body_model_path=path, workers=1) as running,
        connected(running.address) as stub,
    ):
        monkeypatch.setattr(Pipeline, "decode", held_up)
        monkeypatch.setattr(Detector, "close", noted)
        old = running.server._detector
        frame = pb.DetectRequest(frame=pb.Frame(encoded=photo))
        first = asyncio.ensure_future(stub.Detect(frame))
        assert await asyncio.to_thread(entered.wait, 20)
        reloading = asyncio.create_task(running.server.reload())
        await until(lambda: running.server._detector is not old)
        reloading.cancel()
        await asyncio.wait({reloading})
        assert running.server._detector not in closed
        leave.set()
        assert (await first).result.faces
        assert (await stub.Detect(frame)).result.faces


async def test_a_bad_file_leaves_the_old_model_serving(
    path: Path, photo: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one line that says what is wrong."""
    before = content_hash(path)
    async with (
        serving(face_model_path=path, body_model_path=path) as running,
        connected(running.address) as stub,
    ):
        truncated(path)
        with pytest.raises(ModelError, match="serve on"):
            await running.server.reload()
        path.unlink()  # noqa: ASYNC240 - nothing else runs here
        with pytest.raises(ModelError, match="serve on"):
            await running.server.reload()
        answer = await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
        info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    assert answer.result.faces
    assert info.face_model.content_sha256 == before
    said = [line for line in capsys.readouterr().out.splitlines() if "models.reload_failed" in line]
    assert "both.onnx: OpenVINO cannot read it" in said[0]
    assert "both.onnx: there is no such file" in said[1]
    assert all("serve on" in line for line in said)


async def test_what_fails_unforeseen_leaves_the_old_model_serving(
    path: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for want of memory, once the new models are loaded."""
    async with (
        serving(face_model_path=path, body_model_path=path) as running,
        connected(running.address) as stub,
    ):
        old = running.server._detector

        def fails(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(Pipeline, "__init__", fails)
        with pytest.raises(ModelError, match="MemoryError"):
            await running.server.reload()
        assert running.server._detector is old
        answer = await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
    assert answer.result.faces


async def _says(service: Process, event: str) -> None:
    assert service.process.stderr is not None
    async with asyncio.timeout(60):
        while event not in (line := (await service.process.stderr.readline()).decode()):
            assert line, f"it ended before it said {event}"
            service.errors += line
        service.errors += line


async def test_sighup_reloads(path: Path) -> None:
    """As often as it is sent; the service goes on, and SIGTERM ends it as ever."""
    async with service_process(FACE_MODEL_PATH=str(path), BODY_MODEL_PATH=str(path)) as service:
        await service.serves()
        truncated(path)
        service.signal(signal.SIGHUP)
        await _says(service, "models.reload_failed")
        swapped(path)
        service.signal(signal.SIGHUP)
        await _says(service, "models.reloaded")
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert f"FACE_MODEL_PATH and BODY_MODEL_PATH: {path}" in service.errors
    assert "Traceback" not in service.errors
