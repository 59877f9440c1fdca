"""Ultralytics, as the tests compare with it: offline, installing nothing, its settings in a folder of their own."""

import atexit
import os
import shutil
import tempfile
from typing import Final

# Imported before Ultralytics' exporter imports OpenVINO: it keeps OpenVINO from reporting to its maker.
import detector_service.engines.openvino  # noqa: F401

# Ultralytics reads these when it is imported: nothing is fetched, installed or written to the home.
_CONFIG: Final = tempfile.mkdtemp(prefix="ultralytics-")
atexit.register(shutil.rmtree, _CONFIG, ignore_errors=True)
os.environ.update(
    YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=_CONFIG
)

from ultralytics.data.augment import LetterBox  # noqa: E402
from ultralytics.models import YOLO  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils import ASSETS, ROOT, YAML  # noqa: E402
from ultralytics.utils.ops import scale_boxes  # noqa: E402

__all__ = ["ASSETS", "ROOT", "YAML", "YOLO", "DetectionModel", "LetterBox", "scale_boxes"]
