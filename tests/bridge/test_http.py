"""The HTTP side: what each path answers, for whom, and with which headers."""

import asyncio
import http.client
import json
import re
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trustme

from bridge import descriptions, events, protocols
from tests.bridge.bridges import RunningBridge, bridging, client, fake_and_bridge
from tests.servers import until


async def ask(
    bridge: RunningBridge, method: str, path: str, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers by lower-case name, and body."""

    def request() -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=30)
        try:
            connection.request(
                method,
                path,
                headers={key.replace("_", "-"): value for key, value in headers.items()},
            )
            answer = connection.getresponse()
            return (
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read(),
            )
        finally:
            connection.close()

    return await asyncio.to_thread(request)


async def serving(bridge: RunningBridge) -> None:
    """Wait until it knows that a detector serves."""
    await bridge.server._detectors.wait_serving()


def conforms(path: str, status: int, body: Any) -> None:
    """Check an answer against the description that is served."""
    document = descriptions.openapi()
    content = document["paths"][path]["get"]["responses"][str(status)]["content"]
    schema = content["application/json"]["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)


async def test_health() -> None:
    """Healthy while a detector serves; 503 and not healthy while none does."""
    async with fake_and_bridge() as (detector, bridge):
        await serving(bridge)
        status, headers, body = await ask(bridge, "GET", "/health")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "healthy")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["timestamp"])
        assert headers["cache-control"] == "no-store"
        conforms("/health", status, answer)
        await detector.say(serving=False)
        await until(lambda: bridge.server._detectors.choose() is None)
        status, _, body = await ask(bridge, "GET", "/health")
        assert (status, json.loads(body)["status"]) == (503, "unhealthy")
        conforms("/health", status, json.loads(body))


async def test_models_and_stats() -> None:
    """The detector's figures, and the bridge's connections."""
    async with fake_and_bridge() as (_, bridge), client(bridge.url), client(bridge.url):
        await serving(bridge)
        status, _, body = await ask(bridge, "GET", "/api/models/info")
        models = json.loads(body)
        assert status == 200
        for role in ("face_model", "body_model"):
            assert {"loaded": True, "path": "/models/fake.onnx", "device": "cpu"}.items() <= models[
                role
            ].items()
        conforms("/api/models/info", status, models)
        status, _, body = await ask(bridge, "GET", "/api/stats")
        stats = json.loads(body)
        assert (status, stats) == (
            200,
            {
                "active_connections": 2,
                "total_frames_processed": 12450,
                "average_processing_time": 0.045,
                "uptime": 3600.0,
            },
        )
        conforms("/api/stats", status, stats)


async def test_figures_of_several_detectors_are_put_together() -> None:
    """Frames are summed, the mean is over all frames."""
    async with (
        fake_and_bridge() as (one, _),
        fake_and_bridge() as (two, _),
        bridging(one.address, two.address) as bridge,
    ):
        await until(lambda: all(link.serving for link in bridge.server._detectors.links))
        stats = json.loads((await ask(bridge, "GET", "/api/stats"))[2])
        assert stats["total_frames_processed"] == 2 * 12450
        assert stats["average_processing_time"] == 0.045


@pytest.mark.parametrize("path", ["/api/models/info", "/api/stats"])
async def test_without_a_detector_there_are_no_figures(path: str) -> None:
    """503, with the code that events have for it."""
    async with fake_and_bridge() as (detector, bridge):
        await detector.stop()
        await until(lambda: bridge.server._detectors.choose() is None)
        status, headers, body = await ask(bridge, "GET", path)
        assert status == 503
        assert headers["retry-after"] == "1"
        assert json.loads(body)["error"]["code"] == "DETECTOR_UNAVAILABLE"
        conforms(path, status, json.loads(body))


async def test_methods() -> None:
    """HEAD is GET without the body; OPTIONS tells the methods; the others are refused, with a body or not."""
    async with fake_and_bridge() as (_, bridge):
        await serving(bridge)
        _, got, body = await ask(bridge, "GET", "/openapi.json")
        status, headers, nothing = await ask(bridge, "HEAD", "/openapi.json")
        assert (status, nothing) == (200, b"")
        assert headers["content-length"] == got["content-length"] == str(len(body))
        status, headers, nothing = await ask(bridge, "OPTIONS", "/health")
        assert (status, headers["allow"], nothing) == (204, "GET, HEAD, OPTIONS", b"")
        for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
            status, headers, body = await ask(bridge, method, "/health")
            assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS")
            assert json.loads(body)["error"]["code"] == "METHOD_NOT_ALLOWED"
            _secure(headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(urllib.request.urlopen, f"{bridge.http}/health", b"a body")
        assert refused.value.code == 405
        refused.value.close()


async def test_other_answers_are_json_too() -> None:
    """404, 426, and what the WebSocket library answers itself."""
    async with fake_and_bridge() as (_, bridge):
        for path, headers, expected in (
            ("/nowhere", {}, 404),
            ("/", {}, 404),
            ("/ws", {}, 426),
            ("/ws", {"Upgrade": "websocket", "Connection": "Upgrade"}, 400),
        ):
            status, got, body = await ask(bridge, "GET", path, **headers)
            assert status == expected
            assert got["content-type"] == "application/json"
            assert json.loads(body)["error"]["message"]
            _secure(got)


async def raw(bridge: RunningBridge, request: bytes) -> tuple[bytes, bytes]:
    """Send a request as it is; return the answer's head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
    writer.write(request)
    async with asyncio.timeout(30):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/health", ("Origin: http://a", "Origin: http://b"), 400),
        ("/ws", ("Upgrade: websocket", "Origin: http://a", "Origin: http://b"), 400),
        ("/health", ("Host: y", "Origin: http://x"), 400),
        ("/api/stats", ("Authorization: Bearer a", "Authorization: Bearer b"), 400),
        ("/ws", ("Upgrade: websocket", "Upgrade: h2c", "Connection: Upgrade"), 426),
        ("/openapi.json", ('If-None-Match: "a"', 'If-None-Match: "b"'), 200),
    ],
)
async def test_headers_that_come_twice(path: str, headers: tuple[str, ...], status: int) -> None:
    """Are a list, where they may be one, and else the client's fault; never the bridge's."""
    lines = (f"GET {path} HTTP/1.1", "Host: x", *headers, "", "")
    async with fake_and_bridge() as (_, bridge):
        head, body = await raw(bridge, "\r\n".join(lines).encode())
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"nosniff" in head
    assert ("error" in json.loads(body)) is (status != 200)


def _secure(headers: dict[str, str]) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


async def test_cross_origin_requests() -> None:
    """Allowed for the same origin and localhost, unless origins are set; never by a wildcard in the answer."""
    async with fake_and_bridge() as (_, bridge):
        for origin, allowed in (
            (f"http://127.0.0.1:{bridge.port}", True),
            ("http://localhost:3000", True),
            ("https://evil.example", False),
        ):
            for method in ("GET", "OPTIONS"):
                _, headers, _ = await ask(bridge, method, "/health", Origin=origin)
                assert headers.get("access-control-allow-origin") == (origin if allowed else None)
                assert headers["vary"] == "Origin"
                _secure(headers)
    async with fake_and_bridge(allowed_origins="https://a.example") as (_, bridge):
        for origin, allowed in (("https://a.example", True), ("http://localhost:3000", False)):
            _, headers, _ = await ask(bridge, "GET", "/health", Origin=origin)
            assert ("access-control-allow-origin" in headers) is allowed


async def test_descriptions_can_be_cached() -> None:
    """With an ETag; who has it already gets 304."""
    async with fake_and_bridge() as (_, bridge):
        for path in (descriptions.OPENAPI_PATH, descriptions.ASYNCAPI_PATH):
            status, headers, body = await ask(bridge, "GET", path)
            assert status == 200
            assert json.loads(body) == descriptions.served()[path]
            tag = headers["etag"]
            status, headers, body = await ask(bridge, "GET", path, If_None_Match=tag)
            assert (status, body) == (304, b"")
            assert headers["cache-control"] == "public, max-age=300"


async def test_figures_need_a_token_where_tokens_are_asked_for(tmp_path: Path) -> None:
    """Health and descriptions do not."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    async with fake_and_bridge(auth_tokens_file=tokens) as (_, bridge):
        await serving(bridge)
        for path in ("/api/stats", "/api/models/info"):
            for value in ("Bearer wrong", "Basic c2VjcmV0", "Bearer"):
                status, headers, body = await ask(bridge, "GET", path, Authorization=value)
                assert (status, headers["www-authenticate"]) == (401, "Bearer")
                conforms(path, status, json.loads(body))
            assert (await ask(bridge, "GET", path))[0] == 401
            assert (await ask(bridge, "GET", path, Authorization="Bearer secret"))[0] == 200
        assert (await ask(bridge, "GET", "/health"))[0] == 200
        assert (await ask(bridge, "GET", "/openapi.json"))[0] == 200


async def test_over_tls_it_asks_browsers_to_stay_there(tmp_path: Path) -> None:
    """Strict-Transport-Security, and the same answers."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with fake_and_bridge(
        tls_cert_file=tmp_path / "cert.pem", tls_key_file=tmp_path / "key.pem"
    ) as (_, bridge):
        url = f"wss://127.0.0.1:{bridge.port}/ws"
        async with client(url, ssl=trust) as browser:
            await browser.send_frame()
            await browser.result()

        def health() -> tuple[int, str | None]:
            url = f"https://127.0.0.1:{bridge.port}/health"
            with urllib.request.urlopen(url, context=trust) as answer:
                return answer.status, answer.headers["Strict-Transport-Security"]

        assert await asyncio.to_thread(health) == (200, "max-age=31536000")


async def test_the_description_lists_every_path() -> None:
    """And none that is not served."""
    async with fake_and_bridge() as (_, bridge):
        routes = set(bridge.server._http.routes) - {"/ws"}
    assert set(descriptions.openapi()["paths"]) == routes


def test_the_description_lists_every_event() -> None:
    """With the shapes that the code itself uses; the references lead somewhere."""
    document = descriptions.asyncapi()
    messages = document["components"]["messages"]
    assert set(messages) == {*events.names(events.Request), *events.names(events.Event)}
    assert set(document["channels"]["ws"]["messages"]) == set(messages)
    assert all(name in document["info"]["description"] for name in protocols.PROTOCOLS)
    for described in (document, descriptions.openapi()):
        for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(described)):
            at: Any = described
            for step in reference.split("/"):
                at = at[step]
        for schema in described["components"]["schemas"].values():
            jsonschema.Draft202012Validator.check_schema(schema)


async def test_events_conform_to_the_description() -> None:
    """Those that a session really sends."""
    document = descriptions.asyncapi()

    def check(name: str, data: dict[str, Any]) -> None:
        schema = document["components"]["messages"][name]["payload"] | {
            "components": document["components"]
        }
        jsonschema.Draft202012Validator(schema).validate({"event": name, "data": data})

    async with fake_and_bridge() as (_, bridge), client(bridge.url, welcome=False) as browser:
        check(*await browser.receive())
        await browser.send("configure", {"camera": "door"})
        check(*await browser.receive())
        await browser.send_frame(timestamp=1.5, frame_id="x")
        check(*await browser.receive())
        await browser.websocket.send("{")
        check(*await browser.receive())
