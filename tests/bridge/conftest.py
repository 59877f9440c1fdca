"""What several tests of the bridge need."""

import ssl

import pytest
import trustme

from tests.bridge.bridges import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that has signed for this machine."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    settings = {"tls_cert_file": folder / "cert.pem", "tls_key_file": folder / "key.pem"}
    return Authority(settings, trust)
