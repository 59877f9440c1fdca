"""What goes wrong on the way to the service: one sentence and an exit code each."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.servers import serving

from .conftest import COMMAND, PHOTO

Detector = Callable[..., "subprocess.CompletedProcess[str]"]


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the one sentence."""
    assert done.stdout == ""
    assert done.stderr.startswith("detector: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("detector: ")


@pytest.mark.parametrize("command", [["detect", str(PHOTO)], ["stream", str(PHOTO)], ["health"]])
def test_no_service_is_3(detector: Detector, command: list[str]) -> None:
    """At once, for every command."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    done = detector(*command, "--server", address)
    assert done.returncode == 3
    assert complaint(done) == (
        f"no connection to {address}: nothing listens there; is the service running, and the port right?\n"
    )


@pytest.mark.parametrize("address", ["localhost", "http://localhost:50051", ":1", "a:b"])
def test_no_address_is_2(detector: Detector, address: str) -> None:
    """With what one looks like."""
    done = detector("stats", "--server", address)
    assert done.returncode == 2
    assert "give host:port" in complaint(done)


async def test_tokens(detector: Detector, tmp_path: Path) -> None:
    """Wrong or missing: 4. From a file, a variable or the configuration: let in."""
    (tmp_path / "tokens").write_text("secret\n")
    config = tmp_path / "config" / "crowd-detector" / "config.toml"
    config.parent.mkdir(parents=True)
    async with serving(load=False, auth_tokens_file=tmp_path / "tokens") as running:
        where = ["models", "--server", running.address]

        async def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
            return await asyncio.to_thread(detector, *where, *arguments, **variables)

        for refused in (await run(), await run("--token", "wrong")):
            assert refused.returncode == 4
            assert complaint(refused).endswith("; --token-file and DETECTOR_TOKEN give one\n")
        config.write_text(f'token-file = "{tmp_path / "tokens"}"\n')
        for let_in in (
            await run("--token", "secret"),
            await run("--token-file", str(tmp_path / "tokens")),
            await run(DETECTOR_TOKEN="secret"),
            await run(),
        ):
            assert let_in.returncode == 3  # past the door; the models are not loaded
            assert "loaded" in complaint(let_in)


async def test_tls(detector: Detector, tmp_path: Path) -> None:
    """Each way in which the two sides can disagree is told."""
    authority, other = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = {"tls_cert_file": tmp_path / "cert.pem", "tls_key_file": tmp_path / "key.pem"}
    async with serving(load=False, **tls) as running, serving(load=False) as plain:
        secure = "localhost:" + running.address.rpartition(":")[2]

        async def run(server: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
            return await asyncio.to_thread(detector, "health", "--server", server, *arguments)

        agreed = await run(secure, "--tls-ca", str(tmp_path / "ca.pem"))
        assert json.loads(agreed.stdout) == {"server": secure, "serving": False}
        assert agreed.returncode == 3
        for disagreed, words in (
            (await run(secure), "does it ask for TLS"),
            (await run(secure, "--tls-ca", str(tmp_path / "other.pem")), "not from an authority"),
            (await run(running.address, "--tls-ca", str(tmp_path / "ca.pem")), "another name"),
            (await run(plain.address, "--tls"), "does not speak TLS"),
        ):
            assert disagreed.returncode == 3
            assert words in complaint(disagreed)
        assert (await run(plain.address, "--tls-server-name", "a", "--no-tls")).returncode == 3
    for file, words in (("nowhere.pem", "No such file"), ("key.pem", "holds no certificate")):
        done = detector("health", "--tls-ca", tmp_path / file)
        assert done.returncode == 2
        assert words in complaint(done)
    half = detector("health", "--tls-cert", tmp_path / "cert.pem")
    assert half.returncode == 2
    assert "go together" in complaint(half)


def test_ctrl_c_while_a_service_is_asked(environment: dict[str, str]) -> None:
    """Ends the program without a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = subprocess.Popen(
            [*COMMAND, "stats", "--server", f"127.0.0.1:{silent.getsockname()[1]}"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        with silent.accept()[0]:  # it asks
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (-signal.SIGINT, "")  # to a shell: 130


def test_a_bug_can_be_looked_at(detector: Detector) -> None:
    """Where in the code it failed is shown to whoever asks."""
    done = detector("stats", "--server", "127.0.0.1:1", DETECTOR_DEBUG="1")
    assert done.returncode == 3
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_standard_file_that_is_closed(detector: Detector, number: int) -> None:
    """Nothing is read from it, and what is written to it is lost."""
    assert detector("models", before=lambda: os.close(number)).returncode == 0


def test_no_standard_input_is_no_image(detector: Detector) -> None:
    """Rather than a mistake in the program."""
    done = detector("detect", "-", before=lambda: os.close(0))
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["reason"]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["completion", "bash"], ["stats"]]
)
def test_a_closed_pipe_is_141(environment: dict[str, str], arguments: list[str]) -> None:
    """Without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["completion", "bash"], ["stats"]]
)
def test_output_that_cannot_be_written_is_6(
    environment: dict[str, str], arguments: list[str]
) -> None:
    """A full disk under the standard output."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 6
    assert done.stderr == "detector: standard output: No space left on device\n"
