"""NVML as a test wants it: the calls of nvidia-ml-py's module `pynvml` that are used."""

from types import SimpleNamespace


class FakeNvml:
    """So many GPUs, which tell the same.

    Attributes:
        fails: calls that raise.
    """

    class NVMLError(Exception):
        """As the library's."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self, gpus: int) -> None:
        self._gpus = gpus
        self.fails: set[str] = set()

    def _check(self, call: str) -> None:
        if call in self.fails:
            raise self.NVMLError(call)

    def nvmlInit(self) -> None:
        self._check("nvmlInit")

    def nvmlDeviceGetCount(self) -> int:
        self._check("nvmlDeviceGetCount")
        return self._gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self._check("nvmlDeviceGetHandleByIndex")
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "Fake GPU"

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        self._check("nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=75, memory=10)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        self._check("nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(total=8_000, used=2_000, free=6_000)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        self._check("nvmlDeviceGetTemperature")
        return 61
