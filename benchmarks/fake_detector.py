"""A detector that answers at once, so that what is measured is the way there and back."""

import asyncio
import json
import signal
import sys
from typing import Any, Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

_SERVICE: Final = "crowd.detector.v1.DetectorService"
_PEOPLE: Final = 5


class FakeDetector(detector_pb2_grpc.DetectorServiceServicer):
    """Finds the same five people in every frame."""

    async def StreamDetections(self, request: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Answer frames."""
        del request
        sequence = 0
        while (message := await context.read()) is not grpc.aio.EOF:
            if message.HasField("config"):
                answer = pb.StreamDetectionsResponse(configured=message.config)
            else:
                sequence += 1
                answer = pb.StreamDetectionsResponse(result=_result(sequence))
            await context.write(answer)

    async def Detect(self, request: Any, context: Any) -> pb.DetectResponse:  # noqa: N802
        """Answer a frame."""
        del request, context
        return pb.DetectResponse(result=_result(1))


def _result(sequence: int) -> pb.FrameResult:
    found = [
        pb.Detection(box=pb.BoundingBox(x1=1.5, y1=2.5, x2=30.5, y2=40.5), confidence=0.9)
        for _ in range(_PEOPLE)
    ]
    return pb.FrameResult(
        frame=pb.FrameInfo(sequence=sequence, width=1280, height=720), faces=found, bodies=found
    )


async def _main() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    detector_pb2_grpc.add_DetectorServiceServicer_to_server(FakeDetector(), server)  # type: ignore[abstract]
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set(_SERVICE, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "fake.serving", "address": f"127.0.0.1:{port}"}), file=sys.stderr)
    sys.stderr.flush()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(_main())
