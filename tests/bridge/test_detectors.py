"""How detectors are called."""

import asyncio
from pathlib import Path

import pytest
import trustme

from bridge import detectors
from tests.bridge.bridges import bridging, fake_and_bridge
from tests.servers import serving, until


async def test_a_detector_that_hangs_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its connection and answers pings, for gRPC does that by itself; once it goes on, it serves."""
    monkeypatch.setattr(detectors, "_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(detectors, "_UNARY_SECONDS", 0.5)
    async with fake_and_bridge() as (detector, bridge):
        await bridge.server._detectors.wait_serving()
        detector.health_gate.clear()
        await until(lambda: bridge.server._detectors.choose() is None)
        detector.health_gate.set()
        async with asyncio.timeout(60):
            await bridge.server._detectors.wait_serving()


@pytest.mark.parametrize(("name", "serves"), [("", False), ("crowd.example", True)])
async def test_the_name_in_a_detectors_certificate(tmp_path: Path, name: str, serves: bool) -> None:
    """Where it is not that of the address, it is set."""
    authority = trustme.CA()
    certificate = authority.issue_cert("crowd.example")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with (
        serving(tls_cert_file=tmp_path / "cert.pem", tls_key_file=tmp_path / "key.pem") as detector,
        bridging(
            detector.address, detector_ca_file=tmp_path / "ca.pem", detector_server_name=name
        ) as bridge,
    ):
        async with asyncio.timeout(60):
            await bridge.server._detectors.wait_heard()
        assert (bridge.server._detectors.choose() is not None) == serves
