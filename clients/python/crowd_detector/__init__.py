"""The client of the detector: frames in, detections and crowd figures out.

::

    async with DetectorClient("localhost:50051") as client:
        result = await client.detect(Path("photo.jpg").read_bytes())
        print(result.crowd.total_people)

The messages are those of the contract, ``crowd.detector.v1.detector_pb2``.
"""

from crowd_detector.client import DetectorClient

__all__ = ["DetectorClient"]
