"""Reloading the models by a call: who may, what comes back, and what stays where the new ones cannot serve."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc
from crowd_detector import AsyncDetectorClient, ServiceError, UnauthenticatedError
from crowd_detector.cli import main as command

from detector_service.detection.detector import Detector
from detector_service.detection.model_files import content_hash, embedded_model
from detector_service.server import DetectorServer
from tests.servers import Running, connected, details_of, serving, until
from tests.test_reload import swapped, truncated


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A file with a token of somebody who may call."""
    path = tmp_path / "users"
    path.write_text("user-token\n")
    return path


@pytest.fixture
def admins(tmp_path: Path) -> Path:
    """A file with a token of whoever runs the service."""
    path = tmp_path / "admins"
    path.write_text("# on call\nadmin-token\n")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of the shipped model."""
    copy = tmp_path / "both.onnx"
    copy.write_bytes(embedded_model().read_bytes())
    return copy


@pytest.fixture
async def service(path: Path, admins: Path) -> AsyncIterator[Running]:
    """A service that anyone may call, and its admin reload."""
    async with serving(
        face_model_path=path, body_model_path=path, admin_tokens_file=admins, workers=1
    ) as running:
        yield running


async def reload(address: str, token: str = "admin-token") -> pb.ReloadModelsResponse:
    """Call with a token, or without."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(address) as channel:
        stub: detector_pb2_grpc.AdminServiceAsyncStub = detector_pb2_grpc.AdminServiceStub(channel)
        return await stub.ReloadModels(pb.ReloadModelsRequest(), metadata=metadata)


@pytest.mark.parametrize(
    ("files", "token", "code"),
    [
        ((), "", grpc.StatusCode.PERMISSION_DENIED),
        ((), "admin-token", grpc.StatusCode.PERMISSION_DENIED),
        (("users",), "user-token", grpc.StatusCode.PERMISSION_DENIED),
        (("users",), "", grpc.StatusCode.UNAUTHENTICATED),
        (("users",), "admin-token", grpc.StatusCode.UNAUTHENTICATED),
        (("admins",), "", grpc.StatusCode.UNAUTHENTICATED),
        (("admins",), "user-token", grpc.StatusCode.UNAUTHENTICATED),
        (("users", "admins"), "", grpc.StatusCode.UNAUTHENTICATED),
        (("users", "admins"), "another", grpc.StatusCode.UNAUTHENTICATED),
        (("users", "admins"), "user-token", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_nobody_else_may(
    users: Path,
    admins: Path,
    files: tuple[str, ...],
    token: str,
    code: grpc.StatusCode,
) -> None:
    """A stranger is unknown, a user is not allowed; without ADMIN_TOKENS_FILE nobody is."""
    given = {"users": ("auth_tokens_file", users), "admins": ("admin_tokens_file", admins)}
    settings = dict(given[name] for name in files)
    async with serving(load=False, **settings) as running:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reload(running.address, token)
    assert refused.value.code() == code
    assert details_of(refused.value).reason == code.name


async def test_an_admin_may_call_everything_and_others_what_they_could(
    users: Path, admins: Path
) -> None:
    """Where no token is asked for, none is."""
    for settings, tokens in (
        ({"auth_tokens_file": users, "admin_tokens_file": admins}, ("user-token", "admin-token")),
        ({"admin_tokens_file": admins}, ("", "another")),
    ):
        async with serving(load=False, **settings) as running, connected(running.address) as stub:
            for token in tokens:
                metadata = (("authorization", f"Bearer {token}"),) if token else ()
                await stub.GetStats(pb.GetStatsRequest(), metadata=metadata)


async def test_new_models_serve_when_the_call_returns(service: Running, path: Path) -> None:
    """The answer is what GetModelInfo says from then on."""
    swapped(path)
    answer = await reload(service.address)
    async with connected(service.address) as stub:
        info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    assert list(answer.face_model.classes) == ["face", "person"]
    assert answer.body_model.content_sha256 == content_hash(path)
    assert (info.face_model, info.body_model) == (answer.face_model, answer.body_model)


async def test_a_bad_file_is_told_and_the_old_model_serves_on(
    service: Running, path: Path, photo: bytes
) -> None:
    """FAILED_PRECONDITION, with what is wrong; the next call may go well."""
    truncated(path)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await reload(service.address)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert details_of(refused.value).reason == "RELOAD_FAILED"
    assert "FACE_MODEL_PATH and BODY_MODEL_PATH" in str(refused.value.details())
    assert "OpenVINO cannot read it" in str(refused.value.details())
    async with connected(service.address) as stub:
        answer = await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
    assert answer.result.faces
    swapped_from = embedded_model().read_bytes()
    path.write_bytes(swapped_from)  # noqa: ASYNC240 - nothing else runs here
    assert (await reload(service.address)).face_model.loaded


async def test_before_the_first_models_are_loaded_there_is_nothing_to_reload(admins: Path) -> None:
    """The call is told to try again."""
    async with serving(load=False, admin_tokens_file=admins) as running:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reload(running.address)
    assert details_of(refused.value).reason == "NOT_READY"


async def test_a_reload_goes_on_where_its_caller_leaves(
    service: Running, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it loads is used, and not forgotten half-way; the next one waits for it."""
    started, go_on = asyncio.Event(), asyncio.Event()
    load = DetectorServer._load_models

    async def held(server: DetectorServer, workers: int) -> Detector:
        started.set()
        await go_on.wait()
        return await load(server, workers)

    monkeypatch.setattr(DetectorServer, "_load_models", held)
    swapped(path)
    leaving = asyncio.create_task(reload(service.address))
    await started.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    second = asyncio.create_task(reload(service.address))
    await until(lambda: len(service.server._reloads) == 2)
    go_on.set()
    assert list((await second).face_model.classes) == ["face", "person"]
    await until(lambda: not service.server._reloads)


async def test_a_service_that_goes_down_says_so(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To who waits for a reload."""
    started = asyncio.Event()

    async def held(_server: DetectorServer, _workers: int) -> Detector:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    monkeypatch.setattr(DetectorServer, "_load_models", held)
    waiting = asyncio.create_task(reload(service.address))
    await started.wait()
    await service.server.drain()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await waiting
    assert details_of(refused.value).reason == "SHUTTING_DOWN"


async def test_the_client_reloads(service: Running, path: Path) -> None:
    """And raises what its other calls would."""
    swapped(path)
    async with AsyncDetectorClient(service.address, token="admin-token") as client:
        models = await client.reload_models()
        assert models == await client.models()
        assert models.face.classes == ("face", "person")
        truncated(path)
        with pytest.raises(ServiceError, match="cannot read it") as failed:
            await client.reload_models()
        assert failed.value.reason == "RELOAD_FAILED"
    async with AsyncDetectorClient(service.address) as stranger:
        with pytest.raises(UnauthenticatedError):
            await stranger.reload_models()


async def test_the_command_reloads(
    service: Running, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4 where it is refused, with the reason."""
    run: Callable[..., Awaitable[int]] = asyncio.to_thread
    where = ["models", "reload", "--server", service.address]
    assert await run(command, [*where, "--token", "admin-token"]) == 0
    assert '"loaded":true' in capfd.readouterr().out
    truncated(path)
    assert await run(command, [*where, "--token", "admin-token"]) == 4
    assert "cannot read it" in capfd.readouterr().err
    assert await run(command, where) == 4
    assert "a token is needed" in capfd.readouterr().err
