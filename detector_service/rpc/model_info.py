"""What the service says of a model that serves."""

from crowd.detector.v1 import detector_pb2 as pb

from detector_service.detection.detector import Detector
from detector_service.detection.model_files import Role
from detector_service.durations import duration


def model_info(detector: Detector, role: Role) -> pb.ModelInfo:
    """Return what is to be said of the model that has this role."""
    model = detector.model(role)
    classes = model.metadata.classes
    return pb.ModelInfo(
        loaded=True,
        path=str(model.file.path),
        device=model.engine.device,
        format=model.file.format,
        engine=model.engine.name,
        precision=model.engine.precision,
        classes=classes,
        counted_classes=[classes[index] for index in model.counted[role]],
        input_size=model.longest,
        stride=model.metadata.stride,
        content_sha256=model.content_sha256,
        warm_up_time=duration(model.warm_up_seconds),
        embedded=model.file.embedded,
    )
