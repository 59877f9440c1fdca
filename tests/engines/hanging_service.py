"""`detector-service` with an engine that never comes back after SIGUSR1, and always fails after SIGUSR2."""

import signal
import sys

from detector_service import __main__, engines
from tests.engines import gated


def _fail(*_: object) -> None:
    gated.faults.fail_with = RuntimeError("CUDA error: an illegal memory access was encountered")


if __name__ == "__main__":
    engines._REGISTRY["openvino"] = gated.REGISTRATION
    signal.signal(signal.SIGUSR1, lambda *_: gated.faults.close_gate())
    signal.signal(signal.SIGUSR2, _fail)
    sys.exit(__main__.main())
