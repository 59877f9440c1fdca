"""What both processes use knows neither, and costs nothing that they do not need."""

import subprocess
import sys

ALL = """
import importlib, pkgutil, sys, telemetry
for module in pkgutil.iter_modules(telemetry.__path__):
    importlib.import_module(f"telemetry.{module.name}")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_it_knows_neither_process() -> None:
    """Nor what they are made of."""
    done = subprocess.run([sys.executable, "-c", ALL], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert {"telemetry", "structlog"} <= imported
    assert not imported & {"bridge", "detector_service", "crowd", "crowd_detector", "websockets"}
