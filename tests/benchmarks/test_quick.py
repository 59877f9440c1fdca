"""The quickest way through it all: a detector, a bridge, the limit and the load generator."""

import subprocess
import sys

from benchmarks import ratios
from tests.conftest import ROOT


def test_a_short_quick_run_gives_its_ratios_beside_the_committed_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--seconds", "0.3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line.split()}
    for name in ratios.QUICK:
        assert float(shown[name]) > 0
