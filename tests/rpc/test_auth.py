"""Tokens: who is let in, and what the others are told."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from detector_service.errors import ConfigurationError
from detector_service.rpc.auth import Tokens
from tests.servers import connected, details_of, serving


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    """A file with two tokens and a comment."""
    path = tmp_path / "tokens"
    path.write_text("\ufeff# for the gate\nfirst-token\n\n  second-token  \n")
    return path


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Make metadata."""
    return (("authorization", f"Bearer {token}"),)


async def test_known_tokens_are_let_in(tokens_file: Path, photo: bytes) -> None:
    """Each line of the file is a token; unary calls and streams alike."""
    async with serving(auth_tokens_file=tokens_file) as running, connected(running.address) as stub:
        for token in ("first-token", "second-token"):
            request = pb.DetectRequest(frame=pb.Frame(encoded=photo))
            assert (await stub.Detect(request, metadata=bearer(token))).result.faces
        call = stub.StreamDetections(metadata=(("authorization", "bearer first-token"),))
        await call.write(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=photo)))
        answer = await call.read()
        assert isinstance(answer, pb.StreamDetectionsResponse)
        assert answer.result.faces
        await call.done_writing()


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        bearer("wrong"),
        bearer(""),
        bearer("first-toke"),
        bearer("first-token "[::-1]),
        bearer("# for the gate"),
        (("authorization", "first-token"),),
        (("authorization", "Basic first-token"),),
    ],
)
async def test_others_are_not(tokens_file: Path, metadata: tuple[tuple[str, str], ...]) -> None:
    """UNAUTHENTICATED with its reason, for every kind of call, and the service goes on."""
    async with (
        serving(auth_tokens_file=tokens_file, load=False) as running,
        connected(running.address) as stub,
    ):
        calls: list[Awaitable[Any]] = [
            stub.GetStats(pb.GetStatsRequest(), metadata=metadata),
            stub.Detect(pb.DetectRequest(), metadata=metadata),
            stub.StreamDetections(metadata=metadata).read(),
            stub.WatchAlerts(pb.WatchAlertsRequest(), metadata=metadata).read(),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert details_of(refused.value).reason == "UNAUTHENTICATED"
        await stub.GetStats(pb.GetStatsRequest(), metadata=bearer("first-token"))


async def test_health_needs_no_token(tokens_file: Path) -> None:
    """Probes carry none."""
    async with (
        serving(auth_tokens_file=tokens_file) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"\xff\xfe\x00"])
def test_a_file_without_tokens_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Nobody could call, which nobody wants."""
    path = tmp_path / "tokens"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="AUTH_TOKENS_FILE="):
        Tokens.read("AUTH_TOKENS_FILE", path)


@given(known=st.lists(st.text(min_size=1), min_size=1), other=st.text())
def test_only_what_is_known_is_accepted(known: list[str], other: str) -> None:
    """Whatever the tokens."""
    tokens = Tokens(known)
    assert all(tokens.accept(token.encode()) for token in known)
    assert tokens.accept(other.encode()) == (other in known)


async def test_what_is_not_let_in_is_not_parsed(tokens_file: Path) -> None:
    """Bytes that are no message get UNAUTHENTICATED without a token, as any others."""
    async with (
        serving(auth_tokens_file=tokens_file, load=False) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        detect: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/crowd.detector.v1.DetectorService/Detect"
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await detect(b"\xff\xff\xff")
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
