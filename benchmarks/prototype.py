"""Contender "prototype": the usual design of such a service, done decently.

    python -m benchmarks.prototype PORT FACE_WEIGHTS BODY_WEIGHTS

A Starlette WebSocket that takes frames as base64 in JSON, and two `YOLO.predict` calls one after the
other for each of them. Nothing in it is there to be slow: the event loop only reads and writes; JPEGs are
decoded in threads, beside the inference; and the models run in one thread of their own, because Ultralytics
locks a second one out. PyTorch has as many threads as Ultralytics gives it, one fewer than there are cores.
What the design lacks is what it always lacks: batches, bounds, and a way to leave old frames out.
"""

import asyncio
import base64
import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.ultralytics_models import Found, Image, Models, decode

_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_CONFIDENCE: Final = 0.5
_CROWD: Final = 10
_LEVELS: Final = ((0, "empty"), (2, "low"), (5, "medium"), (10, "high"))


class Prototype:
    """The WebSocket's side of it, and the models'."""

    def __init__(self, face: Path, body: Path) -> None:
        self._models: Final = Models(face, body, once_if_same=False)
        self._inference: Final = ThreadPoolExecutor(1, "inference")

    async def warm(self) -> None:
        """Do what the first frame would have to wait for."""
        await self._predict(np.zeros((720, 1280, 3), np.uint8), _CONFIDENCE)

    async def serve(self, websocket: WebSocket) -> None:
        """Answer a client's frames, each in its turn."""
        await websocket.accept()
        greeting = {"client_id": str(uuid.uuid4()), "server_time": _now()}
        await websocket.send_json({"event": "connected", "data": greeting})
        try:
            while True:
                answer = await self._answer(await websocket.receive_text())
                await websocket.send_text(json.dumps(answer))
        except WebSocketDisconnect:
            return

    async def _answer(self, text: str) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            data = json.loads(text)["data"]
            settings = data.get("settings", {})
            encoded = base64.b64decode(data["frame"].rpartition(",")[2])
            image = await asyncio.to_thread(decode, encoded)
        except (KeyError, TypeError, ValueError) as error:
            return _error("INVALID_MESSAGE", "The message is no frame", str(error))
        try:
            confidence = settings.get("confidence_threshold", _CONFIDENCE)
            found = await self._predict(image, confidence)
        except RuntimeError as error:
            return _error("PROCESSING_ERROR", "Failed to process frame", str(error))
        crowd = _crowd(found, image)
        alerts = []
        if max(crowd["face_count"], crowd["body_count"]) > settings.get("crowd_threshold", _CROWD):
            alerts.append(
                {
                    "type": "crowd_warning",
                    "message": "Crowd threshold exceeded",
                    "level": "warning",
                }
            )
        result = {
            **found,
            "crowd_analysis": crowd,
            "alerts": alerts,
            "processing_time": time.perf_counter() - began,
            "timestamp": _now(),
        }
        return {"event": "detection_result", "data": result}

    async def _predict(self, image: Image, confidence: float) -> Found:
        loop = asyncio.get_running_loop()
        (found,) = await loop.run_in_executor(
            self._inference, self._models.predict, [image], confidence
        )
        return found


def _crowd(found: Found, image: Image) -> dict[str, Any]:
    faces, bodies = len(found["faces"]), len(found["bodies"])
    total = max(faces, bodies)
    boxes = (body["bbox"] for body in found["bodies"] or found["faces"])
    covered = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes)
    return {
        "face_count": faces,
        "body_count": bodies,
        "crowd_level": next((name for most, name in _LEVELS if total <= most), "very_high"),
        "density_score": min(covered / (image.shape[0] * image.shape[1]), 1.0),
    }


def _error(code: str, message: str, details: str) -> dict[str, Any]:
    return {"event": "error", "data": {"code": code, "message": message, "details": details}}


def _now() -> int:
    return int(1000 * time.time())


async def _main(port: int, face: Path, body: Path) -> None:
    prototype = Prototype(face, body)
    await prototype.warm()

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "healthy"})

    app = Starlette(routes=[Route("/health", health), WebSocketRoute("/ws", prototype.serve)])
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        ws_max_size=_MESSAGE_BYTES,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
