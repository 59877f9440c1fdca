"""Contender "Ray Serve": a deployment with `@serve.batch` around Ultralytics' `predict`.

    python -m benchmarks.ray_batching PORT FACE_WEIGHTS BODY_WEIGHTS

A replica for each core, in which PyTorch has one thread, on a Ray of its own that listens on 127.0.0.1 and
keeps its files in the working directory. One file for faces and bodies is asked once.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from benchmarks import machine
from benchmarks.ultralytics_models import Found, Models, decode

_BATCH: Final = 8
_WAIT_SECONDS: Final = 0.01
_STORE_BYTES: Final = 128 * 1024 * 1024


class Detection:
    """The replica."""

    def __init__(self, face: str, body: str) -> None:
        self._models: Final = Models(Path(face), Path(body), once_if_same=True)
        self._models.predict([np.zeros((720, 1280, 3), np.uint8)] * _BATCH)
        torch.set_num_threads(1)  # after the first call, for that sets it

    async def __call__(self, request: Request) -> Response:
        """Answer one request; a GET only says that this is ready."""
        if request.method == "GET":
            return PlainTextResponse("ready")
        look: Any = self.look
        return JSONResponse(await look(await request.body()))

    @serve.batch(max_batch_size=_BATCH, batch_wait_timeout_s=_WAIT_SECONDS)  # type: ignore[untyped-decorator]  # not installed where types are checked
    async def look(self, encoded: list[bytes]) -> list[Found]:
        """Look at a batch, in a thread, so that requests are read meanwhile."""
        return await asyncio.to_thread(self._look, encoded)

    def _look(self, encoded: list[bytes]) -> list[Found]:
        return self._models.predict([decode(data) for data in encoded])


def main() -> None:
    """Serve until told to end."""
    port, face, body = sys.argv[1:]
    ray.init(
        num_cpus=machine.cores(),
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=_STORE_BYTES,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(Path.cwd() / "ray"),
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
        deployment = serve.deployment(
            Detection,
            num_replicas=machine.cores(),
            max_ongoing_requests=64,
            ray_actor_options={"num_cpus": 1},
        )
        serve.run(deployment.bind(face, body), route_prefix="/predict")
        signal.sigwait({signal.SIGTERM})
    finally:
        ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
