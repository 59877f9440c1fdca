"""`detector-service` as a process: exit codes, messages, signals, logs."""

import asyncio
import json
import os
import pty
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.__main__ import _greeting
from detector_service.detection.model_files import embedded_model
from detector_service.settings import load_settings
from tests.servers import connected, service_process


async def test_a_bad_setting_ends_it_with_2() -> None:
    """Before anything is opened; all that is wrong is named."""
    async with service_process(CONFIDENCE_THRESHOLD="2", CROWD_THRESHOLD="many") as service:
        assert await service.ended() == 2
    assert "detector-service: CONFIDENCE_THRESHOLD=2: " in service.errors
    assert "detector-service: CROWD_THRESHOLD=many: " in service.errors
    assert "Traceback" not in service.errors


async def test_a_variable_of_opentelemetrys_that_cannot_be_kept_to_ends_it_with_2() -> None:
    """As its own do."""
    async with service_process(OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf") as service:
        assert await service.ended() == 2
    complaint = (
        "detector-service: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf: only grpc is supported"
    )
    assert complaint in service.errors
    assert "Traceback" not in service.errors


async def test_a_collector_that_is_away_keeps_it_from_nothing() -> None:
    """It serves, and it ends; the log says what is lost."""
    away = "http://127.0.0.1:1"
    async with service_process(OTEL_EXPORTER_OTLP_ENDPOINT=away) as service:
        await service.serves()
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert service.errors.count("telemetry.export_failed") <= 1
    assert "Traceback" not in service.errors


@pytest.mark.parametrize(
    ("variable", "name", "content", "words"),
    [
        ("FACE_MODEL_PATH", "m.onnx", None, "there is no such file"),
        ("BODY_MODEL_PATH", "m.onnx", b"not a model", "cannot read it"),
        ("FACE_MODEL_PATH", "m.onnx", b"", "cannot read it"),
        ("BODY_MODEL_PATH", "m.pt", b"not a model", "no PyTorch weights, or they are truncated"),
        ("FACE_MODEL_PATH", "m.tflite", b"model", "not a kind of file that can be loaded"),
    ],
)
async def test_a_model_that_does_not_load_ends_it_with_1(
    tmp_path: Path, variable: str, name: str, content: bytes | None, words: str
) -> None:
    """The variable, the file and what is wrong are named; there is no silent fall-back."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    async with service_process(**{variable: str(path)}) as service:
        assert await service.ended() == 1
    complaint = [
        line for line in service.errors.splitlines() if line.startswith("detector-service: ")
    ]
    assert len(complaint) == 1
    assert variable in complaint[0]
    assert str(path) in complaint[0]
    assert words in complaint[0]
    assert "Traceback" not in service.errors


async def test_a_port_in_use_ends_it_with_2() -> None:
    """By name, rather than sharing the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with service_process(GRPC_PORT=port) as service:
            assert await service.ended() == 2
    assert f"GRPC_PORT={port}: cannot listen there" in service.errors


async def test_a_log_file_that_cannot_be_written_ends_it_with_2(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "app.log"
    async with service_process(LOG_FILE=str(path)) as service:
        assert await service.ended() == 2
    assert f"LOG_FILE: {path} cannot be written" in service.errors


async def test_print_config_shows_what_applies() -> None:
    """As lines of a .env file, passwords hidden; nothing is served."""
    async with service_process(
        "--print-config", CROWD_THRESHOLD="7", REDIS_URL="redis://:secret@r:1/0"
    ) as service:
        assert service.process.stdout is not None
        shown = (await service.process.stdout.read()).decode().splitlines()
        assert await service.ended() == 0
    assert "CROWD_THRESHOLD=7" in shown
    assert "REDIS_URL=redis://:***@r:1/0" in shown


async def test_sigterm_drains_and_ends_with_0(photo: bytes) -> None:
    """Frames that were accepted are answered, the stream is told, and the exit code is 0."""
    async with service_process() as service:
        await service.serves()
        async with connected(service.address) as stub:
            call = stub.StreamDetections()
            await call.write(pb.StreamDetectionsRequest(config=pb.StreamConfig(buffer_frames=32)))
            for number in range(20):
                await call.write(
                    pb.StreamDetectionsRequest(frame=pb.Frame(frame_id=str(number), encoded=photo))
                )
            first = await call.read()
            assert isinstance(first, pb.StreamDetectionsResponse)
            while (await stub.GetStats(pb.GetStatsRequest())).frames_received < 20:
                pass
            service.signal(signal.SIGTERM)
            answered, summary = 0, None
            with pytest.raises(Exception, match="shutting down"):
                while isinstance(response := await call.read(), pb.StreamDetectionsResponse):
                    answered += response.HasField("result")
                    summary = response.summary if response.HasField("summary") else summary
        assert await service.ended() == 0
    assert answered == 20
    assert summary == pb.StreamSummary(frames_received=20, results=20)


async def test_ctrl_c_ends_it_as_well() -> None:
    """SIGINT is a drain too, with nothing on the standard error but the log."""
    async with service_process() as service:
        await service.serves()
        service.signal(signal.SIGINT)
        assert await service.ended() == 0
    assert all(line.startswith("{") for line in service.errors.splitlines())


async def test_who_looks_on_is_told_what_to_try_next(tmp_path: Path) -> None:
    """On a terminal, once it serves: the commands, with the flags that reach this service."""
    main, side = pty.openpty()
    service = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "detector_service",
        cwd=tmp_path,
        env=os.environ | {"HOST": "127.0.0.1", "GRPC_PORT": "0", "ADMIN_PORT": "off"},
        stderr=side,
    )
    os.close(side)
    shown = b""
    async with asyncio.timeout(60):
        while b"VIDEO" not in shown:
            shown += await asyncio.to_thread(os.read, main, 65536)
        service.send_signal(signal.SIGINT)
        assert await service.wait() == 0
    os.close(main)
    assert re.search(rb"Serving on port (\d+); Ctrl-C stops it", shown)
    assert re.search(rb"  \S+/detector detect PHOTO --server localhost:\d+\r\n", shown)


@pytest.mark.parametrize(
    ("host", "port", "flags"),
    [
        ("0.0.0.0", 50051, ""),
        ("::", 50051, ""),
        ("127.0.0.1", 50051, ""),
        ("localhost", 7, " --server localhost:7"),
        ("::", 7, " --server localhost:7"),
        ("::1", 50051, " --server '[::1]:50051'"),
        ("192.0.2.7", 50051, " --server 192.0.2.7:50051"),
        ("2001:db8::7", 7, " --server '[2001:db8::7]:7'"),
    ],
)
def test_what_to_try_next_reaches_this_service(host: str, port: int, flags: str) -> None:
    """Wherever it listens."""
    greeting = _greeting(load_settings(_env_file=None, host=host), port)
    assert f" detect PHOTO{flags}\n" in greeting
    assert f" stream VIDEO --watch{flags}  " in greeting


async def test_a_second_signal_ends_it_at_once(photo: bytes) -> None:
    """While a client holds up the drain by not letting go of its stream."""
    async with service_process(DRAIN_TIMEOUT="600") as service:
        await service.serves()
        async with connected(
            service.address, [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
        ) as stub:
            call = stub.StreamDetections()
            many = pb.StreamConfig(
                settings=pb.DetectionSettings(confidence_threshold=0.0), buffer_frames=32
            )
            await call.write(pb.StreamDetectionsRequest(config=many))
            for _ in range(30):
                await call.write(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=photo)))
            while (await stub.GetStats(pb.GetStatsRequest())).frames_received < 30:
                pass
            service.signal(signal.SIGTERM)
            assert service.process.stderr is not None
            async with asyncio.timeout(30):
                while b"service.draining" not in (line := await service.process.stderr.readline()):
                    assert line
            service.signal(signal.SIGTERM)
            assert await service.ended() == 128 + signal.SIGTERM


async def test_a_signal_while_loading_ends_it_with_0() -> None:
    """Whoever starts it by mistake need not wait."""
    async with service_process() as service:
        assert service.process.stderr is not None
        while b"engine.chosen" not in (line := await service.process.stderr.readline()):
            assert line
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0


async def test_logs_are_json_lines_in_both_places() -> None:
    """One line an event, with level and time; what is open to all is said once."""
    async with service_process(HOST="0.0.0.0") as service:
        assert service.process.stderr is not None
        async with asyncio.timeout(60):
            while "service.serving" not in service.errors:
                service.errors += (await service.process.stderr.readline()).decode()
        service.signal(signal.SIGTERM)
        await service.ended()
        in_file = [json.loads(line) for line in service.log.read_text().splitlines()]
    shown = [json.loads(line) for line in service.errors.splitlines()]
    assert shown == in_file
    events = [record["event"] for record in shown]
    assert events == [
        "auth.open",
        "engine.chosen",
        "model.loaded",
        "service.serving",
        "service.draining",
        "service.stopped",
    ]
    assert all({"level", "timestamp"} <= set(record) for record in shown)
    loaded = shown[2]
    assert loaded["path"] == str(embedded_model())


async def test_a_tokens_file_that_is_empty_ends_it_with_2(tmp_path: Path) -> None:
    """A service that nobody may call is a mistake."""
    (tmp_path / "tokens").touch()
    async with service_process(AUTH_TOKENS_FILE=str(tmp_path / "tokens")) as service:
        assert await service.ended() == 2
    assert "AUTH_TOKENS_FILE=" in service.errors
