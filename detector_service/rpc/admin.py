"""The calls for whoever runs the service; `auth` lets nobody else in."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc

from detector_service.detection.detector import Detector
from detector_service.errors import ModelError
from detector_service.rpc.model_info import model_info
from detector_service.rpc.servicer import ends_with_status
from detector_service.rpc.status import CallRefused
from detector_service.stats import Stats


class AdminServicer(detector_pb2_grpc.AdminServiceServicer):
    """The calls, which only say what the server does."""

    def __init__(self, reload: Callable[[], Awaitable[Detector]], stats: Stats) -> None:
        """Make it.

        Args:
            reload: loads the models anew and returns those that serve then; raises ModelError where the new ones
                cannot, CallRefused where there is none to be replaced.
            stats: where refusals are counted.
        """
        self._reload: Final = reload
        self.stats: Final = stats

    @ends_with_status
    async def ReloadModels(
        self, request: pb.ReloadModelsRequest, context: Any
    ) -> pb.ReloadModelsResponse:
        """Load the models anew."""
        del request, context
        try:
            detector = await self._reload()
        except ModelError as error:
            raise CallRefused(
                grpc.StatusCode.FAILED_PRECONDITION, pb.ERROR_REASON_RELOAD_FAILED, str(error)
            ) from error
        return pb.ReloadModelsResponse(
            face_model=model_info(detector, "face"), body_model=model_info(detector, "body")
        )
