"""How detectors are called."""

import asyncio
from pathlib import Path

import pytest
import trustme

from tests.bridge.bridges import bridging
from tests.servers import serving


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
