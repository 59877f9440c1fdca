"""A flame graph of the detector under a saturated stream: where the processor time goes that no part names."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.children import Child
from benchmarks.endpoints import service_endpoints
from benchmarks.plan import MAIN, SATURATION, Cell, rates
from benchmarks.setups import Setup

_RATE: Final = 200  # samples a second
_TITLE: Final = "The detector under a saturated stream: samples of its Python threads"
_SLACK_SECONDS: Final = 60.0
_WARM_UP: Final = 1.0


def record(
    folder: Path, written: Path, setup: Setup, *, capacity: float, seconds: int, to: Path
) -> str | None:
    """Write an SVG; return why there is none, or None.

    Args:
        folder: for what is written beside it.
        written: a folder of frames.
        setup: what is served.
        capacity: frames a second that the service answers.
        seconds: how long.
        to: the file.

    Raises:
        ChildFailedError: a process of the measurement ended before its time.
    """
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        return "py-spy is not installed"
    with ExitStack() as stack:
        endpoint = service_endpoints(stack, folder, setup)["stream"]
        (detector,) = endpoint.children
        generator = stack.enter_context(
            Child(folder, ["-m", "benchmarks.load", str(written)], os.environ)
        )
        arguments = ["--pid", str(detector.process.pid), "--output", str(to)]
        arguments += ["--duration", str(seconds), "--rate", str(_RATE)]
        arguments += ["--format", "flamegraph", "--nonblocking"]
        recorder = subprocess.Popen(
            [program, "record", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            endpoint.measure(
                generator,
                rates=rates(Cell(MAIN, SATURATION), capacity),
                seed=0,
                warm_up=_WARM_UP,
                seconds=seconds,
            )
            said, _ = recorder.communicate(timeout=_SLACK_SECONDS)
        except subprocess.TimeoutExpired:
            return "py-spy did not end"
        finally:
            if recorder.poll() is None:
                recorder.kill()
                recorder.wait()
    if recorder.returncode or not to.is_file():
        return f"py-spy: {said.strip()[-300:]}"
    # py-spy's title is its command line, with paths of this machine.
    to.write_text(re.sub(r"[^<>]*py-spy record [^<>]*", _TITLE, to.read_text("utf-8")), "utf-8")
    return None
