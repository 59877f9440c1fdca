"""The log's file: rotated, whole lines only, and done without where it cannot be written."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry.log_file import LogFile

LINE = "x" * 99


class Told(list[str]):
    """Keeps what is said on the standard error."""

    def __call__(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, dict)
        assert record.msg["message"]
        self.append(record.msg["event"])


def _write(log: LogFile, text: str = LINE) -> None:
    log.handle(logging.LogRecord("test", logging.INFO, "", 0, text, (), None))


def test_it_is_rotated(tmp_path: Path) -> None:
    """At 10 MB; five old ones are kept, and no line is lost before that."""
    told = Told()
    log = LogFile(tmp_path / "app.log", told)
    for number in range(25):
        _write(log, f"{number:02}" + "x" * 2_500_000)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["app.log", *(f"app.log.{n}" for n in range(1, 6))]
    assert all(file.stat().st_size <= 10 * 1024 * 1024 for file in files)
    assert files[0].read_text().startswith("24")
    assert files[1].read_text().startswith("20")
    assert told == []


@pytest.mark.parametrize("lost", ["folder", "file", "moved"])
def test_a_file_that_is_gone_is_made_anew(tmp_path: Path, lost: str) -> None:
    """With its folder; also where another program rotates it."""
    path = tmp_path / "logs" / "app.log"
    log = LogFile(path, Told())
    _write(log, "before")
    match lost:
        case "folder":
            shutil.rmtree(path.parent)
        case "file":
            path.unlink()
        case _:
            path.rename(path.with_suffix(".old"))
    _write(log, "after")
    log.close()
    assert path.read_text() == "after\n"


def test_while_it_cannot_be_written_that_is_said_once(tmp_path: Path) -> None:
    """And once more, here and in the file, when it can."""
    folder, told = tmp_path / "logs", Told()
    log = LogFile(folder / "app.log", told)
    shutil.rmtree(folder)
    folder.touch()  # a file in the folder's place
    for _ in range(3):
        _write(log)
    assert told == ["log.file_failed"]
    folder.unlink()
    _write(log)
    _write(log)
    log.close()
    assert told == ["log.file_failed", "log.file_recovered"]
    lines = (folder / "app.log").read_text().splitlines()
    assert (lines[0], lines[2]) == (LINE, LINE)
    assert "'missing': 3" in lines[1]


def test_a_full_device_raises_nothing() -> None:
    """As a disk without space answers."""
    told = Told()
    log = LogFile(Path("/dev/full"), told)
    for _ in range(3):
        _write(log)
    log.close()
    assert told == ["log.file_failed"]


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
import structlog
from telemetry import logs
path = Path(sys.argv[1])
logs.configure(path, level="INFO", debug=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(20):
    structlog.get_logger().info("went.on", number=number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
structlog.get_logger().info("went.on", number=20)
"""


def test_a_process_whose_disk_is_full_goes_on(tmp_path: Path) -> None:
    """Its standard error has all lines; the file has whole ones, and says how many it lacks."""
    path = tmp_path / "app.log"
    done = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    shown = [json.loads(line) for line in done.stderr.splitlines()]
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in shown if line["event"] == "went.on"] == list(range(21))
    (failed,) = [line for line in shown if line["event"] == "log.file_failed"]
    assert failed["path"] == str(path)
    numbers = [line["number"] for line in kept if line["event"] == "went.on"]
    assert 0 < len(numbers) < 21
    assert numbers[-1] == 20
    assert kept[-1]["event"] == "log.file_recovered"
    assert kept[-1]["missing"] == 21 - len(numbers)
