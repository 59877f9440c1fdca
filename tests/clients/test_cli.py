"""The command line against a real service."""

import asyncio
import json
from pathlib import Path

import pytest
from crowd_detector import cli

from tests.servers import ROOT, serving

PHOTO = str(ROOT / "models" / "astronaut.jpg")


async def run(*arguments: str) -> int:
    """Run the command beside the event loop that serves it."""
    return await asyncio.to_thread(cli.main, list(arguments))


async def test_detect_gives_a_line_for_each_image(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON with the contract's names, and the file's name as the frame's id."""
    async with serving() as running:
        assert await run("--server", running.address, "detect", PHOTO, PHOTO) == 0
    lines = [
        json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")
    ]
    assert [line["frame"]["frame_id"] for line in lines] == [PHOTO, PHOTO]
    assert lines[0]["crowd"]["face_count"] == len(lines[0]["faces"])


async def test_models_and_stats(capsys: pytest.CaptureFixture[str]) -> None:
    """What serves, and what was done."""
    async with serving() as running:
        assert await run("--server", running.address, "models") == 0
        assert await run("--server", running.address, "stats") == 0
    models, stats = (
        json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")
    )
    assert models["face_model"]["embedded"] is True
    assert stats["total_frames_processed"] == "0"


async def test_no_service_is_one_sentence_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    """The address and what is wrong."""
    assert await run("--server", "127.0.0.1:1", "stats") == 1
    assert capsys.readouterr().err.startswith("detector: 127.0.0.1:1: UNAVAILABLE: ")


async def test_a_refused_image_is_one_sentence_and_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the service's own words."""
    path = tmp_path / "note.jpg"
    path.write_text("hello")
    async with serving() as running:
        assert await run("--server", running.address, "detect", str(path)) == 1
    assert "INVALID_ARGUMENT: not a JPEG, PNG or WebP image" in capsys.readouterr().err


async def test_a_missing_file_is_one_sentence_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The file and what is wrong."""
    assert await run("detect", "/nowhere/photo.jpg") == 2
    assert capsys.readouterr().err == "detector: /nowhere/photo.jpg: No such file or directory\n"
