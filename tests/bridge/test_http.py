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
from hypothesis import given
from hypothesis import strategies as st

from bridge import descriptions, events, protocols
from bridge.http import Answer, Route, path_of
from tests.bridge.bridges import Authority, RunningBridge, bridging, client, fake_and_bridge
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


def conforms(path: str, status: int, body: bytes) -> None:
    """Check an answer against the description that is served."""
    document = descriptions.openapi()
    described = document["paths"][path]["get"]["responses"][str(status)]
    if "content" not in described:
        assert not body or status == 101
        return
    ((media_type, content),) = described["content"].items()
    if media_type == "text/plain":
        assert content["schema"] == {"type": "string"}
        return
    schema = content["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(json.loads(body))


async def test_health() -> None:
    """Healthy while a detector serves; 503 and not healthy while none does."""
    async with fake_and_bridge() as (detector, bridge):
        await serving(bridge)
        status, headers, body = await ask(bridge, "GET", "/health")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "healthy")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["timestamp"])
        assert headers["cache-control"] == "no-store"
        conforms("/health", status, body)
        await detector.say(serving=False)
        await until(lambda: bridge.server._detectors.choose() is None)
        status, _, body = await ask(bridge, "GET", "/health")
        assert (status, json.loads(body)["status"]) == (503, "unhealthy")
        conforms("/health", status, body)


async def test_life_and_readiness() -> None:
    """The first says that the bridge answers; the second, as `/health`, whether anything can be served."""
    async with (
        fake_and_bridge() as (one, _),
        fake_and_bridge() as (two, _),
        bridging(one.address, two.address) as bridge,
    ):
        links = bridge.server._detectors.links
        for says, status in ((True, 200), (False, 503)):
            await one.say(serving=says)
            await two.say(serving=False)
            await until(lambda: [link.serving for link in links] == [says, False])  # noqa: B023 - it is awaited here
            got, _, body = await ask(bridge, "GET", "/health/ready")
            assert got == status
            assert json.loads(body)["detectors"] == {"serving": int(says), "configured": 2}
            conforms("/health/ready", got, body)
            got, _, body = await ask(bridge, "GET", "/health/live")
            assert (got, json.loads(body)["status"]) == (200, "alive")
            conforms("/health/live", got, body)


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
        conforms("/api/models/info", status, body)
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
        conforms("/api/stats", status, body)


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
        conforms(path, status, body)


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


async def raw(
    bridge: RunningBridge, request: bytes, *, tls: ssl.SSLContext | None = None
) -> tuple[bytes, bytes]:
    """Send a request as it is; return the answer's head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port, ssl=tls)
    writer.write(request)
    async with asyncio.timeout(30):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
ODD_REQUESTS = {
    "TRACE": (b"TRACE /health HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 405),
    "a method in lower case": (b"get /health HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "a body": (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", 405),
    "a body in chunks": (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0", 405),
    "a body on GET": (b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", 400),
    "chunks on GET": (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0", 501),
    "absolute": (b"GET http://x/health?a=b HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "absolute, without a path": (b"GET HTTP://x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204),
    "GET *": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "OPTIONS of nothing": (b"OPTIONS /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "no path": (b"GET\r\n\r\n", 400),
    "no version": (b"GET /health\r\n\r\n", 400),
    "an empty line": (b"\r\n\r\n", 400),
    "another version": (b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    "LF alone": (b"GET /health HTTP/1.1\nHost: x\n\n", 400),
    "not ASCII": ("GET /ä HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 400),
    "a header without a colon": (b"GET /health HTTP/1.1\r\nHost\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\xfc\n", 400),
    "a long target": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
    "a long header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 200 + b"\r\n", 431),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "HTTP/1.0": (b"GET /health HTTP/1.0\r\n\r\n", 200),
    "a WebSocket by HTTP/1.0": (b"GET /ws HTTP/1.0\r\nHost: x\r\n" + UPGRADE + b"\r\n", 505),
    "no key": (b"GET /ws HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n", 400),
    "two at once": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2, 200),
    "a WebSocket's close after it": (
        b"GET /api/stats HTTP/1.1\r\nHost: x\r\n\r\n\x88\x80\0\0\0\0",
        200,
    ),
    "garbage after it": (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + b"\xff" * 70_000, 404),
    "no Connection": (b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", 426),
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("name", ODD_REQUESTS)
async def test_odd_requests_are_answered(
    name: str, tls: bool, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """In JSON, with all headers; the connection ends, and nothing is left of it."""
    request, status = ODD_REQUESTS[name]
    async with fake_and_bridge(**authority.settings if tls else {}) as (_, bridge):
        await serving(bridge)
        head, body = await raw(bridge, request, tls=authority.trust if tls else None)
        server = bridge.server._server
        assert server is not None
        await until(lambda: not server.handler_tasks)
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    _secure(headers)
    assert headers["connection"] == "close"
    if status == 204:
        assert not body
    else:
        assert headers["content-length"] == str(len(body))
        assert ("error" in json.loads(body)) is (status != 200)
    assert ("allow" in headers) is (status in (204, 405))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_half_a_request_is_answered_and_none_is_not() -> None:
    """Where the client still reads; who only knocks is told nothing."""
    async with fake_and_bridge() as (_, bridge):
        for request, status in ((b"GET /hea", b" 400 "), (b"PO", b" 400 "), (b"", b"")):
            reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
            writer.write(request)
            writer.write_eof()
            async with asyncio.timeout(30):
                answer = await reader.read()
            writer.close()
            assert status in answer
            assert bool(answer) is bool(request)


async def test_a_method_that_comes_in_pieces_is_known() -> None:
    """As every request may come."""
    async with fake_and_bridge() as (_, bridge):
        reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
        for piece in (b"P", b"OS", b"T / HTTP/1.1\r\nContent-Len", b"gth: 4\r\n\r\n", b"body"):
            writer.write(piece)
            await until(lambda: not writer.transport.get_write_buffer_size())
            await asyncio.to_thread(lambda: None)  # the bridge has a turn, of the same event loop
        async with asyncio.timeout(30):
            assert b" 405 " in await reader.read()
        writer.close()


async def test_a_large_body_does_not_cost_its_sender_the_answer() -> None:
    """It is read and thrown away, for otherwise the kernel would throw away the answer."""
    async with fake_and_bridge() as (_, bridge):
        size = 5_000_000
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        head, body = await raw(bridge, head + bytes(size))
    assert b" 405 " in head
    assert json.loads(body)["error"]["code"] == "METHOD_NOT_ALLOWED"


@given(st.text(), st.sampled_from(["", "http://a", "HTTPS://[::1]:80"]))
def test_the_path_of_any_target(target: str, authority: str) -> None:
    """Is not empty, has no query, and does not depend on the authority before it."""
    path = path_of(authority + "/" + target)
    assert path == path_of("/" + target)
    assert path.startswith("/")
    assert "?" not in path


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
        for path in ("/api/stats", "/api/models/info", "/metrics"):
            for value in ("Bearer wrong", "Basic c2VjcmV0", "Bearer"):
                status, headers, body = await ask(bridge, "GET", path, Authorization=value)
                assert (status, headers["www-authenticate"]) == (401, "Bearer")
                conforms(path, status, body)
            assert (await ask(bridge, "GET", path))[0] == 401
            assert (await ask(bridge, "GET", path, Authorization="Bearer secret"))[0] == 200
        assert (await ask(bridge, "GET", "/health"))[0] == 200
        assert (await ask(bridge, "GET", "/openapi.json"))[0] == 200


async def test_over_tls_it_asks_browsers_to_stay_there(authority: Authority) -> None:
    """Strict-Transport-Security, and the same answers."""
    trust = authority.trust
    async with fake_and_bridge(**authority.settings) as (_, bridge):
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
        routes = set(bridge.server._http.routes)
    assert set(descriptions.openapi()["paths"]) == routes | {descriptions.ELSEWHERE}


async def test_the_description_lists_every_answer(tmp_path: Path) -> None:
    """Each status that a path gives, with the shape it has; and none that no request gets."""
    paths = descriptions.openapi()["paths"]
    described = {
        (path, int(status)) for path in paths for status in paths[path]["get"]["responses"]
    }
    (tmp_path / "tokens").write_text("secret\n")
    seen = set[tuple[str, int]]()
    async with fake_and_bridge(auth_tokens_file=tmp_path / "tokens") as (detector, bridge):
        await serving(bridge)
        for path in paths:
            seen |= {(path, await _described(bridge, path, *each)) for each in REQUESTS}
        for request in WEBSOCKET_REQUESTS:
            seen.add(("/ws", await _described(bridge, "/ws", *request)))
        await detector.stop()
        await until(lambda: bridge.server._detectors.choose() is None)
        for path in ("/health", "/health/ready", "/api/stats", "/api/models/info"):
            seen.add((path, await _described(bridge, path, *REQUESTS[0])))
        for path in paths:
            bridge.server._http.routes[path.format(path="nowhere")] = Route(_broken)
            seen.add((path, await _described(bridge, path, *REQUESTS[0])))
        seen.add(("/ws", await _while_it_goes_down(bridge)))
    assert seen == described


TOKEN = b"Authorization: Bearer secret\r\n"
HANDSHAKE = (
    UPGRADE + b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
)
GOOD_BYE = b"\x88\x80\0\0\0\0"  # of a WebSocket; elsewhere it is thrown away
#: Method, what follows the path, headers.
REQUESTS = [
    (b"GET", b"", TOKEN),
    (b"GET", b"?query", b""),
    (b"GET", b"", TOKEN + b"If-None-Match: ETAG\r\n"),
    (b"GET", b"", b"Host: another\r\n"),
    (b"GET", b"", b"A: " + b"a" * 9000 + b"\r\n"),
    (b"GET", b"?" + b"a" * 9000, b""),
    (b"GET", b"", b"Transfer-Encoding: chunked\r\n"),
    (b"DELETE", b"", b""),
]
WEBSOCKET_REQUESTS = [
    (b"GET", b"", HANDSHAKE),
    (b"GET", b"", HANDSHAKE + b"Origin: https://evil.example\r\n"),
    (b"GET", b" HTTP/1.0\r\nA: ", UPGRADE),
]


async def _broken() -> Answer:
    raise RuntimeError("of the test")


async def _described(
    bridge: RunningBridge, path: str, method: bytes, query: bytes, headers: bytes
) -> int:
    """Return the status that a request gets; its body is as described, and HEAD gets the same status."""
    target = path.format(path="nowhere")
    if b"ETAG" in headers:
        tag = (await ask(bridge, "GET", target, Authorization="Bearer secret"))[1].get("etag", "")
        headers = headers.replace(b"ETAG", tag.encode())
    rest = b" %b%b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target.encode(), query, headers) + GOOD_BYE
    head, body = await raw(bridge, method + rest)
    status = int(head.split()[1])
    if method == b"GET" and status != 101:
        same, _ = await raw(bridge, b"HEAD" + rest)
        if target != "/ws":  # a WebSocket is opened by GET only
            assert int(same.split()[1]) == status
    conforms(path, status, body)
    return status


async def _while_it_goes_down(bridge: RunningBridge) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
    server = bridge.server._server
    assert server is not None
    await until(lambda: server.handler_tasks)
    draining = asyncio.create_task(bridge.server.drain())
    await until(lambda: not server.is_serving())
    writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\n" + HANDSHAKE + b"\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await draining
    status = int(head.split()[1])
    conforms("/ws", status, body)
    return status


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
