"""A detector that finds the same in every frame, at once, and does wrong what a test asks of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "crowd.detector.v1.DetectorService"


def result(frame: pb.Frame, sequence: int, camera: str = "") -> pb.FrameResult:
    """Return one face and one body, whatever the frame shows."""
    box = pb.BoundingBox(x1=1.5, y1=2, x2=30.25, y2=40)
    found = pb.FrameResult(
        frame=pb.FrameInfo(
            frame_id=frame.frame_id,
            camera=frame.camera or camera,
            sequence=sequence,
            width=512,
            height=512,
        ),
        faces=[pb.Detection(box=box, confidence=0.95)],
        bodies=[pb.Detection(box=box, confidence=0.87)],
        crowd=pb.CrowdAnalysis(
            face_count=1,
            body_count=1,
            total_people=1,
            crowd_level=pb.CROWD_LEVEL_LOW,
            density_score=0.25,
        ),
        completed_time=Timestamp(seconds=1_640_995_200, nanos=100_000_000),
    )
    found.processing_time.FromMilliseconds(45)
    if frame.HasField("capture_time"):
        found.frame.capture_time.CopyFrom(frame.capture_time)
    return found


class GatedHealth(health.aio.HealthServicer):  # type: ignore[misc] # it ships no types
    """The standard one, behind a gate."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__()
        self._gate = gate

    async def Check(self, request: Any, context: Any) -> Any:
        """Answer once the gate is open."""
        await self._gate.wait()
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:
        """Begin once the gate is open."""
        await self._gate.wait()
        await super().Watch(request, context)


class FakeDetector(detector_pb2_grpc.DetectorServiceServicer):
    """Answers every frame at once, unless told otherwise.

    Attributes:
        frames: that came, in order, over all streams.
        configs: likewise.
        streams: open now.
        gate: frames are answered while it is open.
        health_gate: what is asked about its health is answered while it is open.
        refuse: a status that new streams end with.
        alerts: what WatchAlerts gives; None where it is not implemented.
        watched: the cameras of each WatchAlerts that is open.
        reported: by ReportAlert; it is implemented where alerts are.
        fail_frames: frame ids that are answered with these reasons.
        drop_frames: frame ids that are dropped.
        forget_frames: frame ids that are neither answered nor told as dropped.
        bad_cameras: configurations of these end the stream with INVALID_ARGUMENT.
        deaf: whether frames are not even read.
        die_at: the frame id at which a stream ends with UNAVAILABLE.
        summary_at: the frame id at which a stream ends as that of a detector that goes down.
    """

    def __init__(self) -> None:
        self.frames: list[pb.Frame] = []
        self.configs: list[pb.StreamConfig] = []
        self.metadata: list[dict[str, Any]] = []
        self.streams = 0
        self.opened = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.health_gate = asyncio.Event()
        self.health_gate.set()
        self.refuse: grpc.StatusCode | None = None
        self.alerts: asyncio.Queue[pb.Alert] | None = None
        self.watched: list[list[str]] = []
        self.reported: list[pb.Alert] = []
        self.fail_frames: dict[str, pb.FrameError] = {}
        self.drop_frames: set[str] = set()
        self.forget_frames: set[str] = set()
        self.bad_cameras: set[str] = set()
        self.deaf = False
        self.die_at: str | None = None
        self.summary_at: str | None = None
        self.address = ""
        self._server: grpc.aio.Server | None = None
        self._health = GatedHealth(self.health_gate)

    async def start(self, port: int = 0) -> None:
        """Listen; again on the same port, where it was stopped."""
        self._server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        )
        self._health = GatedHealth(self.health_gate)
        detector_pb2_grpc.add_DetectorServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        await self.say(serving=True)
        port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """End at once: every call is cut off."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def restart(self) -> None:
        """Begin again where it was."""
        await self.start(int(self.address.rpartition(":")[2]))

    async def say(self, *, serving: bool) -> None:
        """Tell whoever watches its health."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(SERVICE, status.SERVING if serving else status.NOT_SERVING)

    async def StreamDetections(self, request: Any, context: Any) -> None:  # type: ignore[override]
        """Answer frames."""
        del request
        self.metadata.append(dict(context.invocation_metadata()))
        if self.refuse is not None:
            await context.abort(self.refuse, "refused by the test")
        self.streams += 1
        self.opened += 1
        try:
            await self._answer_frames(context)
        finally:
            self.streams -= 1

    async def _answer_frames(self, context: Any) -> None:
        drops, sequence, camera = 0, 0, ""
        if self.deaf:
            await asyncio.Event().wait()
        while (message := await context.read()) is not grpc.aio.EOF:
            if message.HasField("config"):
                self.configs.append(message.config)
                camera = message.config.camera
                if camera in self.bad_cameras:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no camera {camera}")
                configured = pb.StreamDetectionsResponse(configured=message.config)
                drops = _tell(configured, drops)
                await context.write(configured)
                continue
            sequence += 1
            frame = message.frame
            self.frames.append(frame)
            await self.gate.wait()
            if self.die_at == frame.frame_id:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "died of this frame")
            if self.summary_at == frame.frame_id:
                await context.write(pb.StreamDetectionsResponse(summary=pb.StreamSummary()))
                await asyncio.Event().wait()
            if frame.frame_id in self.drop_frames:
                drops += 1
                continue
            if frame.frame_id in self.forget_frames:
                continue
            response = self._answer(frame, sequence, camera)
            drops = _tell(response, drops)
            await context.write(response)

    def _answer(self, frame: pb.Frame, sequence: int, camera: str) -> pb.StreamDetectionsResponse:
        response = pb.StreamDetectionsResponse()
        if frame.frame_id in self.fail_frames:
            response.error.CopyFrom(self.fail_frames[frame.frame_id])
            response.error.frame.CopyFrom(result(frame, sequence, camera).frame)
        else:
            response.result.CopyFrom(result(frame, sequence, camera))
        return response

    async def GetModelInfo(
        self, request: pb.GetModelInfoRequest, context: Any
    ) -> pb.GetModelInfoResponse:
        """Name one model."""
        del request, context
        model = pb.ModelInfo(loaded=True, path="/models/fake.onnx", device="cpu", format="onnx")
        return pb.GetModelInfoResponse(face_model=model, body_model=model)

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        """Give the figures of the documentation."""
        del request, context
        stats = pb.GetStatsResponse(total_frames_processed=12450)
        stats.average_processing_time.FromMilliseconds(45)
        stats.uptime.FromSeconds(3600)
        return stats

    async def WatchAlerts(  # type: ignore[override]
        self, request: pb.WatchAlertsRequest, context: Any
    ) -> None:
        """Give what the test puts into the queue."""
        if self.alerts is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "WatchAlerts is not implemented")
        assert self.alerts is not None
        cameras = list(request.cameras)
        self.watched.append(cameras)
        try:
            while True:
                alert = await self.alerts.get()
                if not cameras or alert.camera in cameras:
                    await context.write(pb.WatchAlertsResponse(alert=alert))
        finally:
            self.watched.remove(cameras)

    async def Detect(self, request: pb.DetectRequest, context: Any) -> pb.DetectResponse:
        """Never called by the bridge."""
        raise NotImplementedError

    async def BatchDetect(self, request: Any, context: Any) -> pb.BatchDetectResponse:
        """Never called by the bridge."""
        raise NotImplementedError

    async def QueryHistory(self, request: Any, context: Any) -> pb.QueryHistoryResponse:
        """Never called by the bridge."""
        raise NotImplementedError

    async def ReportAlert(
        self, request: pb.ReportAlertRequest, context: Any
    ) -> pb.ReportAlertResponse:
        """Take an alert."""
        self.reported.append(request.alert)
        if self.alerts is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "ReportAlert is not implemented")
        return pb.ReportAlertResponse(alert_id="1")


def _tell(response: pb.StreamDetectionsResponse, drops: int) -> int:
    """Have a response tell of drops; return how many are still to be told: none."""
    if drops:
        response.drops.add(reason=pb.DROP_REASON_SUPERSEDED, count=drops)
    return 0


@asynccontextmanager
async def faking(count: int = 1) -> AsyncIterator[list[FakeDetector]]:
    """Run so many fake detectors."""
    detectors = [FakeDetector() for _ in range(count)]
    try:
        for detector in detectors:
            await detector.start()
        yield detectors
    finally:
        for detector in detectors:
            await detector.stop()
