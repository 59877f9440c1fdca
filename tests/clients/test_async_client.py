"""The asyncio client against a real service."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme
from crowd_detector import (
    AnswerTimeoutError,
    AsyncDetectorClient,
    CrowdLevel,
    DetectionSettings,
    Frame,
    FrameError,
    InvalidRequestError,
    OverloadedError,
    PixelFormat,
    RawImage,
    Result,
    ServiceError,
    Tls,
    UnauthenticatedError,
    UnavailableError,
)

from detector_service import engines
from tests.clients.faults import faulty, proxied
from tests.engines import gated
from tests.servers import ROOT, serving, until

PHOTO = ROOT / "models" / "astronaut.jpg"


async def test_an_image_in_any_form(photo: bytes) -> None:
    """Bytes, a path, a string, a frame: all the same picture; settings of one's own apply."""
    strict = DetectionSettings(confidence_threshold=1.0)
    async with serving() as running, AsyncDetectorClient(running.address) as client:
        results = [await client.detect(image) for image in (photo, PHOTO, str(PHOTO), Frame(photo))]
        nobody = await client.detect(photo, settings=strict)
        own_come_first = await client.detect(
            Frame(photo, settings=DetectionSettings(confidence_threshold=0.5)), settings=strict
        )
        raw = await client.detect(RawImage(bytes(64 * 48 * 3), 64, 48, PixelFormat.RGB24))
    assert len({result.faces for result in results}) == 1
    assert results[0].crowd.face_count == len(results[0].faces) >= 1
    assert nobody.crowd.level is CrowdLevel.EMPTY
    assert own_come_first.faces == results[0].faces
    assert (raw.width, raw.height) == (64, 48)


async def test_a_batch_gives_an_outcome_for_each(photo: bytes) -> None:
    """In their order, errors among them."""
    async with serving() as running, AsyncDetectorClient(running.address) as client:
        found, refused = await client.detect_batch([PHOTO, Frame(b"x", frame_id="bad")])
        with pytest.raises(InvalidRequestError) as empty:
            await client.detect_batch([])
    assert isinstance(found, Result)
    assert isinstance(refused, FrameError)
    assert (refused.frame_id, refused.reason) == ("bad", "UNSUPPORTED_IMAGE")
    assert empty.value.reason == "INVALID_REQUEST"


async def test_what_serves_and_what_was_done(photo: bytes) -> None:
    """Models and statistics, typed."""
    async with serving() as running, AsyncDetectorClient(running.address) as client:
        await client.detect(photo)
        with pytest.raises(FrameError):
            await client.detect(b"")
        models, stats = await client.models(), await client.stats()
        assert await client.health()
    assert models.face.counted_classes == ("face",)
    assert models.face.embedded
    assert (stats.total_frames_processed, stats.frames_received) == (1, 2)
    assert stats.errors == {"IMAGE_MISSING": 1}
    assert stats.average_stage_times.inference > 0


async def test_waiting_until_the_service_is_ready() -> None:
    """It is, once the models are loaded; until then the wait has an end, which says what was missing."""
    async with serving(load=False) as running, AsyncDetectorClient(running.address) as client:
        assert not await client.health()
        with pytest.raises(AnswerTimeoutError, match="not loaded its models"):
            await client.wait_until_ready(0.2)
        waiting = asyncio.create_task(client.wait_until_ready())
        await running.server.load()
        await waiting
    async with AsyncDetectorClient("127.0.0.1:1") as client:
        with pytest.raises(AnswerTimeoutError, match="nothing listens there"):
            await client.wait_until_ready(0.2)


async def test_calls_that_take_too_long_are_given_up(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """By the client's timeout, or the call's own."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with (
        serving(workers=1) as running,
        AsyncDetectorClient(running.address, timeout=0.2) as client,
    ):
        gated.faults.close_gate()
        with pytest.raises(AnswerTimeoutError, match="in time"):
            await client.detect(photo)
        with pytest.raises(TimeoutError):
            await client.detect(photo, timeout=0.1)
        gated.faults.open.set()
        await until(lambda: running.server.stats.abandoned == 2)


async def test_what_the_service_refuses(monkeypatch: pytest.MonkeyPatch, photo: bytes) -> None:
    """Each kind of refusal is an exception of its kind, with the reason for programs."""
    async with serving(load=False) as running, AsyncDetectorClient(running.address) as client:
        with pytest.raises(UnavailableError) as loading:
            await client.detect(photo)
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with (
        serving(workers=1, max_queued_frames=1, max_batch_frames=1) as running,
        AsyncDetectorClient(running.address) as client,
    ):
        with pytest.raises(FrameError) as bad:
            await client.detect(photo[: len(photo) // 2])
        gated.faults.close_gate()
        first = asyncio.create_task(client.detect(photo))
        assert await asyncio.to_thread(gated.faults.entered.acquire, timeout=20)
        with pytest.raises(OverloadedError) as overloaded:
            await client.detect(photo)
        gated.faults.open.set()
        await first
    assert (loading.value.reason, loading.value.retry_after) == ("NOT_READY", 1.0)
    assert overloaded.value.reason == "OVERLOADED"
    assert overloaded.value.retry_after is not None
    assert bad.value.reason == "TRUNCATED_IMAGE"


async def test_a_service_that_is_another() -> None:
    """A call that it does not know is its failure, not ours."""

    async def behave(requests: object, context: object) -> None:
        raise AssertionError("not called")

    async with faulty(behave) as address, AsyncDetectorClient(address) as client:
        with pytest.raises(ServiceError, match=address):
            await client.models()


async def test_tokens(tmp_path: Path, photo: bytes) -> None:
    """The right one opens the door, for calls and for streams."""
    (tmp_path / "tokens").write_text("letmein\n")
    async with serving(auth_tokens_file=tmp_path / "tokens") as running:
        async with AsyncDetectorClient(running.address, token="letmein") as client:
            assert isinstance(await client.detect(photo), Result)
            assert [isinstance(answer, Result) async for answer in client.stream([photo])] == [True]
        for token in ("", "wrong"):
            async with AsyncDetectorClient(running.address, token=token) as client:
                with pytest.raises(UnauthenticatedError) as refused:
                    await client.detect(photo)
                with pytest.raises(UnauthenticatedError):
                    await anext(client.stream([photo]))
                assert refused.value.reason == "UNAUTHENTICATED"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """An authority with a certificate for this machine, one for another, and one for a client."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other-ca.pem")
    for name, host in (("here", "127.0.0.1"), ("elsewhere", "elsewhere.example"), ("client", "me")):
        cert = ca.issue_cert(host)
        cert.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        (tmp_path / f"{name}.pem").write_bytes(b"".join(p.bytes() for p in cert.cert_chain_pems))
    return ca


@pytest.mark.usefixtures("authority")
async def test_tls(tmp_path: Path, photo: bytes) -> None:
    """By the authority's file, by another name, and with a certificate of the client's own."""
    ca = tmp_path / "ca.pem"
    here = {"tls_cert_file": tmp_path / "here.pem", "tls_key_file": tmp_path / "here.key"}
    there = {
        "tls_cert_file": tmp_path / "elsewhere.pem",
        "tls_key_file": tmp_path / "elsewhere.key",
    }
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"
    cases: list[tuple[dict[str, Any], Tls]] = [
        (here, Tls(ca)),
        (there, Tls(ca, server_name="elsewhere.example")),
        (here | {"tls_client_ca_file": ca}, Tls(ca, cert, key)),
    ]
    for service, tls in cases:
        async with (
            serving(**service) as running,
            AsyncDetectorClient(running.address, tls=tls) as client,
        ):
            assert isinstance(await client.detect(photo), Result)


@pytest.mark.usefixtures("authority")
async def test_tls_mismatches_are_told_apart(tmp_path: Path) -> None:
    """One sentence each, which says what does not fit."""
    ca = tmp_path / "ca.pem"
    here = {"tls_cert_file": tmp_path / "here.pem", "tls_key_file": tmp_path / "here.key"}
    there = {
        "tls_cert_file": tmp_path / "elsewhere.pem",
        "tls_key_file": tmp_path / "elsewhere.key",
    }
    cases: list[tuple[dict[str, Any], Tls | None, str]] = [
        ({}, Tls(ca), "does not speak TLS"),
        (here, None, "does it ask for TLS"),
        (here, Tls(tmp_path / "other-ca.pem"), "an authority that is trusted"),
        (here, Tls(), "an authority that is trusted"),
        (there, Tls(ca), "for another name"),
        (here | {"tls_client_ca_file": ca}, Tls(ca), "or for a client's certificate"),
    ]
    for service, tls, sentence in cases:
        async with (
            serving(load=False, **service) as running,
            AsyncDetectorClient(running.address, tls=tls) as client,
        ):
            with pytest.raises(UnavailableError, match=sentence):
                await client.stats()


@pytest.mark.parametrize("address", ["", "localhost", "http://localhost:50051", "localhost:port"])
def test_what_is_no_address(address: str) -> None:
    """Is refused before anything is tried."""
    with pytest.raises(ValueError, match="host:port"):
        AsyncDetectorClient(address)


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    """Are named."""
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.pem holds no certificate"):
        AsyncDetectorClient(tls=Tls(tmp_path / "text.pem"))
    with pytest.raises(FileNotFoundError, match="nothing"):
        AsyncDetectorClient(tls=Tls(tmp_path / "nothing.pem"))
    with pytest.raises(ValueError, match="go together"):
        AsyncDetectorClient(tls=Tls(key_file=tmp_path / "text.pem"))


async def test_the_sentences_for_what_is_not_there() -> None:
    """No name, no service, another service."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for address, sentence in (
            ("127.0.0.1:1", "nothing listens there"),
            ("no.such.host.invalid:50051", "its name is not known"),
            (f"127.0.0.1:{port}", "no gRPC service"),
        ):
            async with AsyncDetectorClient(address) as client:
                with pytest.raises(UnavailableError, match=sentence):
                    await client.stats()


async def test_a_closed_client_says_so(photo: bytes) -> None:
    """Closing twice is closing; calling after that is an error that says why."""
    async with serving() as running:
        client = AsyncDetectorClient(running.address)
        await client.detect(photo)
        await client.aclose()
        await client.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await client.detect(photo)
        with pytest.raises(RuntimeError, match="closed"):
            client.stream([photo])


async def test_a_service_that_wakes_up_is_waited_for(photo: bytes) -> None:
    """A call that is not answered in time is not the end of the wait."""
    async with serving() as running, proxied(running.address) as proxy:
        proxy.hold()
        async with AsyncDetectorClient(proxy.address, timeout=0.2) as client:
            waiting = asyncio.create_task(client.wait_until_ready(20))
            await until(lambda: proxy.connections)
            with pytest.raises(AnswerTimeoutError):
                await client.stats()
            proxy.go_on()
            await waiting


async def test_a_call_that_is_under_way_when_the_client_is_closed(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """Ends with the reason; its task was not cancelled by anybody."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(workers=1) as running:
        client = AsyncDetectorClient(running.address)
        gated.faults.close_gate()
        calling = asyncio.create_task(client.detect(photo))
        assert await asyncio.to_thread(gated.faults.entered.acquire, timeout=20)
        await client.aclose()
        with pytest.raises(RuntimeError, match="was closed"):
            await calling
        gated.faults.open.set()


@pytest.mark.parametrize("token", ["schlüssel", "a\nb", "\x7f"])
def test_a_token_that_cannot_be_sent(token: str) -> None:
    """Is refused without being shown."""
    with pytest.raises(ValueError, match="printable ASCII") as refused:
        AsyncDetectorClient(token=token)
    assert token not in str(refused.value)


async def test_a_token_from_a_file_ends_with_a_line(tmp_path: Path, photo: bytes) -> None:
    """Which is not part of it."""
    (tmp_path / "tokens").write_text("letmein\n")
    async with (
        serving(auth_tokens_file=tmp_path / "tokens") as running,
        AsyncDetectorClient(running.address, token="letmein\n") as client,
    ):
        assert isinstance(await client.detect(photo), Result)


async def test_an_image_that_is_larger_than_a_message_may_be() -> None:
    """Is the caller's mistake, and not the service's being busy."""
    async with (
        serving(max_message_bytes=2_000_000, max_frame_bytes=1_000_000) as running,
        AsyncDetectorClient(running.address) as client,
    ):
        with pytest.raises(InvalidRequestError, match="MAX_MESSAGE_BYTES"):
            await client.detect(bytes(3_000_000))


def test_a_client_of_another_event_loop_says_so(photo: bytes) -> None:
    """Rather than fail in the depths."""
    client = AsyncDetectorClient("127.0.0.1:1")

    async def use() -> None:
        with pytest.raises(UnavailableError):
            await client.health()

    asyncio.run(use())

    async def use_again() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await client.health()

    asyncio.run(use_again())


async def test_one_image_is_no_batch() -> None:
    """A path would be iterated letter by letter."""
    async with AsyncDetectorClient() as client:
        with pytest.raises(TypeError, match="no batch"):
            await client.detect_batch("photo.jpg")
