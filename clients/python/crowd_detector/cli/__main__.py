"""``python -m crowd_detector.cli``: the same as ``detector``."""

import sys

from crowd_detector.cli import main

if __name__ == "__main__":
    sys.exit(main())
