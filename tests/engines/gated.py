"""An engine that does as a test tells it: waits, fails, answers at once; around the real one."""

import threading
from pathlib import Path

from detector_service.engines import EngineOptions, Registration
from detector_service.engines.base import Prepared
from detector_service.engines.openvino import OpenVINOEngine, OpenVINORequest

REGISTRATION = Registration(
    "tests.engines.gated", "GatedEngine", (".onnx", ".xml", "/"), "openvino"
)


class Faults:
    """What a test tells the engine; one for the process, as a test runs one service at a time."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.fail_with: Exception | None = None
        self.threads: set[str] = set()
        self.inferences = 0

    def close_gate(self) -> None:
        """Hold every inference from now on; `entered` counts those at the gate."""
        self.entered = threading.Semaphore(0)
        self.open.clear()


faults = Faults()


class GatedEngine(OpenVINOEngine):
    """The real engine behind a gate that is open during warm-up."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        global faults  # noqa: PLW0603 - each service starts without faults
        faults = Faults()
        super().__init__(path, options)

    def request(self) -> "GatedRequest":
        """Return a request that passes the gate."""
        return GatedRequest(self)


class GatedRequest(OpenVINORequest):
    """A request that passes the gate first."""

    def start(self, images: Prepared, threshold: float) -> None:
        """Wait for the gate, fail if told to, then infer."""
        faults.entered.release()
        faults.threads.add(threading.current_thread().name)
        assert faults.open.wait(60), "the test never opened the gate"
        if faults.fail_with is not None:
            raise faults.fail_with
        faults.inferences += 1
        super().start(images, threshold)
