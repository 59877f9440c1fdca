"""The whole service in this process: health, reflection, TLS, and going down in good order."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc
from crowd_detector import AsyncDetectorClient, Result, UnavailableError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from detector_service import engines
from detector_service.engines.openvino import OpenVINOEngine
from detector_service.errors import ConfigurationError
from detector_service.rpc.stream import StreamSession
from tests.engines import gated
from tests.servers import Running, connected, details_of, serving, until

Health = health_pb2.HealthCheckResponse
NAMES = ("", "crowd.detector.v1.DetectorService")


async def health(channel: grpc.aio.Channel, name: str = "") -> int:
    """Ask for the health of a service."""
    request = health_pb2.HealthCheckRequest(service=name)
    return int((await health_pb2_grpc.HealthStub(channel).Check(request)).status)


async def test_health_follows_the_models(photo: bytes) -> None:
    """NOT_SERVING until they are warm, while calls are told to come back; then SERVING, as watchers see."""
    async with (
        serving(load=False) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        stub = detector_pb2_grpc.DetectorServiceStub(channel)
        assert [await health(channel, name) for name in NAMES] == [Health.NOT_SERVING] * 2
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        seen = [(await watch.read()).status]
        with pytest.raises(grpc.aio.AioRpcError) as early:
            await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
        await running.server.load()
        seen.append((await watch.read()).status)
        assert [await health(channel, name) for name in NAMES] == [Health.SERVING] * 2
        assert (await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))).result.faces
        draining = asyncio.create_task(running.server.drain())
        seen.append((await watch.read()).status)
        async with asyncio.timeout(10):  # far less than DRAIN_TIMEOUT: the watch is not waited for
            await draining
    assert seen == [Health.NOT_SERVING, Health.SERVING, Health.NOT_SERVING]
    assert early.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details_of(early.value).reason == "NOT_READY"
    assert details_of(early.value).retry_after == 1


async def test_reflection_lists_the_services() -> None:
    """Tools such as grpcurl find the contract by themselves."""
    async with (
        serving(load=False) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = {service.name for service in (await call.read()).list_services_response.service}
        call.cancel()
    assert {"crowd.detector.v1.DetectorService", "grpc.health.v1.Health"} <= listed


async def test_no_accepted_frame_is_lost_in_a_drain(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """What waits and what is in work is answered, on streams and calls; then the stream says why it ends."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(workers=1) as running, connected(running.address) as stub:
        stream = stub.StreamDetections()
        gated.faults.close_gate()
        await stream.write(pb.StreamDetectionsRequest(config=pb.StreamConfig(buffer_frames=8)))
        for name in "abc":
            await stream.write(
                pb.StreamDetectionsRequest(frame=pb.Frame(frame_id=name, encoded=photo))
            )
        unary = asyncio.ensure_future(stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo))))
        await until(lambda: running.server.stats.received == 4)
        draining = asyncio.create_task(running.server.drain())
        await until(lambda: running.server._servicer._draining)
        gated.faults.open.set()
        responses = []
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            while isinstance(response := await stream.read(), pb.StreamDetectionsResponse):
                responses.append(response)
        assert (await unary).result.faces
        await draining
        await running.server.drain()  # twice is once
    configured, *results, last = responses
    assert configured.HasField("configured")
    assert [response.result.frame.frame_id for response in results] == ["a", "b", "c"]
    assert last.summary == pb.StreamSummary(frames_received=3, results=3)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details_of(ended.value).reason == "SHUTTING_DOWN"
    assert details_of(ended.value).retry_after == 1


async def test_a_drain_lets_a_half_closed_stream_end_well(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """Its client has sent all it wanted and gets all of it, and so it ends with OK."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(workers=1) as running, connected(running.address) as stub:
        stream = stub.StreamDetections()
        gated.faults.close_gate()
        await stream.write(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=photo)))
        await stream.done_writing()
        (session,) = [s async for s in _sessions(running)]
        await until(lambda: session._reader is not None and session._reader.done())
        draining = asyncio.create_task(running.server.drain())
        await until(lambda: running.server._servicer._draining)
        gated.faults.open.set()
        first, last = await stream.read(), await stream.read()
        assert isinstance(first, pb.StreamDetectionsResponse)
        assert isinstance(last, pb.StreamDetectionsResponse)
        assert await stream.code() == grpc.StatusCode.OK
        await draining
    assert first.HasField("result")
    assert last.summary == pb.StreamSummary(frames_received=1, results=1)


async def _sessions(running: Running) -> AsyncIterator[StreamSession]:
    await until(lambda: running.server._servicer._sessions)
    for session in running.server._servicer._sessions:
        yield session


async def test_saturating_clients_learn_why_their_streams_end(photo: bytes) -> None:
    """Twenty clients that send all they can see SHUTTING_DOWN in a drain, with all that was accepted."""

    async def frames() -> AsyncIterator[bytes]:
        while True:
            yield photo

    async def one(client: AsyncDetectorClient) -> tuple[UnavailableError, int]:
        stream = client.stream(frames(), when_full="newest", reconnect_timeout=0)
        with pytest.raises(UnavailableError) as ended:
            async for result in stream:
                assert isinstance(result, Result)
        return ended.value, stream.summary.results

    async with serving() as running, AsyncDetectorClient(running.address) as client:
        clients = [asyncio.create_task(one(client)) for _ in range(20)]
        await until(lambda: running.server.stats.processed >= 40)
        await running.server.drain()
        outcomes = await asyncio.gather(*clients)
        stats = running.server.stats
    assert {error.reason for error, _ in outcomes} == {"SHUTTING_DOWN"}
    assert sum(results for _, results in outcomes) == stats.processed
    assert stats.received == stats.processed + stats.drops.total()


async def test_a_drain_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """Once DRAIN_TIMEOUT has passed, calls that have not ended are cut off."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(workers=1, drain_timeout=0.2) as running, connected(running.address) as stub:
        gated.faults.close_gate()
        call = asyncio.ensure_future(stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo))))
        await until(lambda: running.server.stats.received == 1)
        draining = asyncio.create_task(running.server.drain())
        with pytest.raises(grpc.aio.AioRpcError) as cut_off:
            await call
        gated.faults.open.set()
        await draining
    assert cut_off.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_port_in_use_is_named() -> None:
    """Two services never share a port in silence."""
    async with serving(load=False) as running:
        port = int(running.address.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"GRPC_PORT={port}: cannot listen there"):
            async with serving(load=False, grpc_port=port):
                pass


@pytest.fixture
def tls(tmp_path: Path) -> tuple[trustme.CA, dict[str, Any]]:
    """A certificate authority, and the files of a server that it vouches for."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    files = {
        name: tmp_path / f"{name}.pem"
        for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file")
    }
    server.cert_chain_pems[0].write_to_path(files["tls_cert_file"])
    server.private_key_pem.write_to_path(files["tls_key_file"])
    authority.cert_pem.write_to_path(files["tls_client_ca_file"])
    return authority, files


def at_localhost(address: str) -> str:
    """Return an address under the certificate's name."""
    return address.replace("127.0.0.1", "localhost")


async def test_tls(tls: tuple[trustme.CA, dict[str, Any]]) -> None:
    """With a certificate and its key: who trusts the authority is served, who does not is not connected."""
    authority, files = tls
    del files["tls_client_ca_file"]
    async with serving(**files) as running:
        trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with grpc.aio.secure_channel(at_localhost(running.address), trusting) as channel:
            assert await health(channel) == Health.SERVING
        doubting = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
        async with grpc.aio.secure_channel(at_localhost(running.address), doubting) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health(channel)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_plain_text_to_a_tls_port_is_refused_and_harms_nobody(
    tls: tuple[trustme.CA, dict[str, Any]],
) -> None:
    """A client without TLS is told UNAVAILABLE; bytes that are no handshake end their connection only."""
    authority, files = tls
    del files["tls_client_ca_file"]
    async with serving(**files) as running:
        async with grpc.aio.insecure_channel(running.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health(channel)
        host, _, port = running.address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        async with asyncio.timeout(30):
            await reader.read()
        writer.close()
        trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with grpc.aio.secure_channel(at_localhost(running.address), trusting) as channel:
            assert await health(channel) == Health.SERVING
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_mtls(tls: tuple[trustme.CA, dict[str, Any]]) -> None:
    """With an authority for clients, only a client that shows a certificate of it is connected."""
    authority, files = tls
    own, foreign = authority.issue_cert("camera"), trustme.CA().issue_cert("camera")
    root = authority.cert_pem.bytes()
    async with serving(**files) as running:
        for client, served in ((own, True), (foreign, False), (None, False)):
            key, chain = (
                (client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes())
                if client
                else (None, None)
            )
            credentials = grpc.ssl_channel_credentials(root, key, chain)
            async with grpc.aio.secure_channel(
                at_localhost(running.address), credentials
            ) as channel:
                if served:
                    assert await health(channel) == Health.SERVING
                else:
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await health(channel)
                    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_tls_port_speaks_http_2(tls: tuple[trustme.CA, dict[str, Any]]) -> None:
    """It negotiates h2 by ALPN and a current TLS version, as gRPC clients in other languages demand."""
    authority, files = tls
    del files["tls_client_ca_file"]
    async with serving(load=False, **files) as running:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.set_alpn_protocols(["h2"])
        host, _, port = running.address.partition(":")
        _, writer = await asyncio.open_connection(
            host, int(port), ssl=context, server_hostname="localhost"
        )
        connection = writer.get_extra_info("ssl_object")
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
        writer.close()


async def test_a_client_that_falls_silent_is_given_up(photo: bytes) -> None:
    """A peer that vanished without a word, as behind a pulled cable, is found by pings it does not answer."""
    async with serving(keepalive_time=1, keepalive_timeout=0.2) as running:
        host, _, port = running.address.partition(":")
        cable = asyncio.Event()
        cable.set()

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                await cable.wait()
                writer.write(data)
                await writer.drain()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            onward_reader, onward = await asyncio.open_connection(host, int(port))
            tasks = [
                asyncio.create_task(carry(reader, onward)),
                asyncio.create_task(carry(onward_reader, writer)),
            ]
            try:
                await asyncio.wait(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                onward.close()
                writer.close()

        proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
        address = f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        async with connected(address) as stub:
            call = stub.StreamDetections()
            await call.write(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=photo)))
            assert isinstance(await call.read(), pb.StreamDetectionsResponse)
            assert running.server.stats.active_streams == 1
            cable.clear()
            await until(lambda: running.server.stats.active_streams == 0)
            cable.set()
        proxy.close()


async def test_the_event_loop_s_lateness_is_measured() -> None:
    """GetStats tells how late the loop runs, once it has run a little."""
    async with serving() as running, connected(running.address) as stub:
        await until(lambda: len(running.server.stats.loop_lag) >= 3)
        stats = await stub.GetStats(pb.GetStatsRequest())
    assert 0 <= stats.event_loop_lag_p99.ToNanoseconds() < 5_000_000_000


@pytest.mark.parametrize(
    ("device", "settings", "more"),
    [
        ("cpu", {}, 0),
        ("cuda:0", {}, 32),
        ("cuda:0", {"engine_batch": 4}, 4),
    ],
)
async def test_there_are_workers_to_fill_a_batch(
    monkeypatch: pytest.MonkeyPatch, device: str, settings: dict[str, Any], more: int
) -> None:
    """On a GPU as many more as it looks at together; without one, two for each core."""
    monkeypatch.setattr(OpenVINOEngine, "device", device)
    async with serving(**settings) as running:
        assert running.server._workers is not None
        assert running.server._workers.count == 2 * engines.available_cores() + more


async def test_workers_that_were_set_are_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs the model."""
    monkeypatch.setattr(OpenVINOEngine, "device", "cuda:0")
    async with serving(workers=3) as running:
        assert running.server._workers is not None
        assert running.server._workers.count == 3


async def test_fifty_clients_at_once(photo: bytes) -> None:
    """Every one of fifty streams is answered, each in its own order, with its own frames only."""

    async def one(stub: "detector_pb2_grpc.DetectorServiceAsyncStub", name: str) -> list[str]:
        call = stub.StreamDetections()
        await call.write(
            pb.StreamDetectionsRequest(config=pb.StreamConfig(camera=name, buffer_frames=4))
        )
        for number in range(4):
            await call.write(
                pb.StreamDetectionsRequest(
                    frame=pb.Frame(frame_id=f"{name}/{number}", encoded=photo)
                )
            )
        await call.done_writing()
        names = []
        while isinstance(response := await call.read(), pb.StreamDetectionsResponse):
            if response.HasField("result"):
                assert response.result.frame.camera == name
                names.append(response.result.frame.frame_id)
        return names

    async with serving() as running, connected(running.address) as stub:
        answered = await asyncio.gather(*(one(stub, str(client)) for client in range(50)))
    assert answered == [[f"{client}/{number}" for number in range(4)] for client in range(50)]
