"""`detector-service` with an engine that never comes back once the process has got SIGUSR1."""

import signal
import sys

from detector_service import __main__, engines
from tests.engines import gated

if __name__ == "__main__":
    engines._REGISTRY["openvino"] = gated.REGISTRATION
    signal.signal(signal.SIGUSR1, lambda *_: gated.faults.close_gate())
    sys.exit(__main__.main())
