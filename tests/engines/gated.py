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
        self._passes_after: int | None = None  # so many at the gate
        self._lock = threading.Lock()

    def close_gate(self) -> None:
        """Hold every inference from now on; `entered` counts those at the gate."""
        self.entered = threading.Semaphore(0)
        self._passes_after = None
        self.open.clear()

    def hold(self, inferences: int) -> None:
        """Hold so many inferences, as an engine that is stuck; those after them pass."""
        self.close_gate()
        self._passes_after = inferences

    def is_held(self) -> bool:
        """Come to the gate; return whether it is closed to this one."""
        with self._lock:
            if self._passes_after is None:
                return not self.open.is_set()
            self._passes_after -= 1
            return self._passes_after >= 0


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
        held = faults.is_held()
        faults.entered.release()
        faults.threads.add(threading.current_thread().name)
        assert not held or faults.open.wait(60), "the test never opened the gate"
        if faults.fail_with is not None:
            raise faults.fail_with
        faults.inferences += 1
        super().start(images, threshold)
