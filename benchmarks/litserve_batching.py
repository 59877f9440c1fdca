"""Contenders "LitServe" and "LitServe, a worker a core": its batching around Ultralytics' `predict`.

    python -m benchmarks.litserve_batching PORT FACE_WEIGHTS BODY_WEIGHTS [--worker-a-core]

As its guide has it: a LitAPI that decodes images from base64 in JSON, LitServe makes batches of what waits,
and one worker process runs them, with as many threads of PyTorch as Ultralytics gives it: one fewer than there
are cores, so that some idle. With --worker-a-core, a worker process for each core, in which PyTorch has one
thread. One file for faces and bodies is asked once.
"""

import argparse
import base64
import signal
from pathlib import Path
from typing import Any, Final

import litserve
import numpy as np
import torch

from benchmarks import machine
from benchmarks.ultralytics_models import Found, Image, Models, decode

_BATCH: Final = 8
_WAIT_SECONDS: Final = 0.01


class Detection(litserve.LitAPI):  # type: ignore[misc]  # not installed where types are checked
    """What the worker process does."""

    def __init__(self, face: Path, body: Path, *, one_thread: bool, **how: Any) -> None:
        super().__init__(**how)
        self._weights: Final = (face, body)
        self._one_thread: Final = one_thread

    def setup(self, device: str) -> None:
        """Load the models."""
        del device
        self._models = Models(*self._weights, once_if_same=True)
        self._models.predict([np.zeros((720, 1280, 3), np.uint8)] * _BATCH)
        if self._one_thread:
            torch.set_num_threads(1)  # after the first call, for that sets it

    def decode_request(self, request: litserve.Request) -> Image:
        """Return a request's image; LitServe has read its JSON."""
        return decode(base64.b64decode(request["image"]))

    def batch(self, inputs: list[Image]) -> list[Image]:
        """Leave the images apart: `predict` takes a list."""
        return inputs

    def predict(self, images: list[Image]) -> list[Found]:
        """Look at a batch."""
        return self._models.predict(images)

    def unbatch(self, output: list[Found]) -> list[Found]:
        """Return the answers one by one."""
        return output

    def encode_response(self, output: Found) -> litserve.Response:
        """Return what is sent back as JSON."""
        return output


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.litserve_batching")
    parser.add_argument("port", type=int)
    parser.add_argument("face", type=Path)
    parser.add_argument("body", type=Path)
    parser.add_argument("--worker-a-core", action="store_true")
    options = parser.parse_args()
    # LitServe ends its processes where it is interrupted; told to end, it would leave them behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    api = Detection(
        options.face,
        options.body,
        one_thread=options.worker_a_core,
        max_batch_size=_BATCH,
        batch_timeout=_WAIT_SECONDS,
    )
    how = {"workers_per_device": machine.cores()} if options.worker_a_core else {}
    litserve.LitServer(api, accelerator="cpu", **how).run(
        host="127.0.0.1",
        port=options.port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
