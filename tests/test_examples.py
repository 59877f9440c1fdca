"""Every command and every example of the pages for users does what the page says."""

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT, service_process

DEFAULT = "localhost:50051"
PYTHON_PAGES = ("README.md", "docs/client.md")


def blocks(page: str, language: str) -> list[str]:
    """Return what stands between the fences of a page."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    )


def commands(page: str) -> list[str]:
    """Return the lines of a page's shell blocks, without comments."""
    lines = "\n".join(blocks(page, "sh")).splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


async def run(*command: str, folder: Path, **environment: str) -> str:
    """Run a command, which must succeed; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{command}:\n{output.decode()}"
    return output.decode()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout with everything set up, in which nothing can be harmed."""
    folder = tmp_path / "checkout"
    (folder / ".venv").mkdir(parents=True)
    for entry in [*ROOT.iterdir(), *(ROOT / ".venv").iterdir()]:
        if entry.name not in {".git", ".venv", ".service", ".dev", "logs", "out"}:
            (folder / entry.relative_to(ROOT)).symlink_to(entry)
    for stamp in (".service", ".dev"):  # newer than what they depend on: nothing is to be installed
        (folder / ".venv" / stamp).touch()
    return folder


@pytest.fixture(scope="module")
def port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def serves(port: int) -> None:
    """Wait until something listens on a port, and has loaded its models."""
    from crowd_detector import AsyncDetectorClient

    async with AsyncDetectorClient(f"127.0.0.1:{port}") as client:
        await client.wait_until_ready()


@pytest.mark.needs("make", "make")
async def test_every_command_of_the_readme_works(checkout: Path, port: int) -> None:
    """In their order; those that come after `make run` find it running, until Ctrl-C ends it."""
    # 0: those that they have by default would be taken where others run, and `make run` would give up.
    environment = {
        "GRPC_PORT": str(port),
        "ADMIN_PORT": "0",
        "PORT": "0",
        "DETECTOR_SERVER": f"127.0.0.1:{port}",
    }
    running: asyncio.subprocess.Process | None = None
    seen = commands("README.md")
    assert {"make demo", "make run", ".venv/bin/detector stats"} <= set(seen)
    try:
        for command in seen:
            if command == "make run":
                running = await asyncio.create_subprocess_exec(
                    *command.split(),
                    cwd=checkout,
                    env=os.environ | environment,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
                await serves(port)
                continue
            line = command.replace(DEFAULT, f"127.0.0.1:{port}")
            await run("bash", "-c", line, folder=checkout, **environment)
    finally:
        if running is not None and running.returncode is None:
            os.killpg(running.pid, signal.SIGINT)
            await running.wait()
    assert (checkout / "demo.jpg").is_file()
    assert list((checkout / "out").iterdir())


async def test_every_example_works(tmp_path: Path) -> None:
    """Each as a program of its own, in the folder of a checkout."""
    program = tmp_path / "example.py"
    paths = os.pathsep.join(str(ROOT / part) for part in ("clients/python", "protos"))
    examples = [code for page in PYTHON_PAGES for code in blocks(page, "python")]
    assert len(examples) >= 6
    async with service_process() as service:
        await service.serves()
        for code in examples:
            program.write_text(code.replace(DEFAULT, service.address))
            output = await run(sys.executable, str(program), folder=ROOT, PYTHONPATH=paths)
            assert output or "def connect" in code
