import pytest

from benchmarks import cost, machine
from benchmarks.plan import HALF
from benchmarks.setups import EMBEDDED, TWO_MODELS
from tests.benchmarks.rows import row

_PARTS = {
    "decode": 2.0,
    "resize": 0.4,
    "inference": 7.0,
    "post-processing": 0.3,
    "transport": 0.5,
    "client": 0.1,
}


def test_two_models_leave_frames_a_longer_tail_than_one_beside_a_frame_that_is_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On two cores both inferences of a lone frame run at once, so that all that wait for it wait longer by comparison."""
    monkeypatch.setattr(machine, "cores", lambda: 2)
    rows = [
        row("stream", fps, setup=setup, load=HALF, number=number, offered_fps=fps)
        for number in (1, 2, 3)
        for setup, fps in ((EMBEDDED, 90.0), (TWO_MODELS, 55.0))
    ]
    floors = cost.half_load_floors(_PARTS, rows)
    assert 1 < floors[EMBEDDED] < floors[TWO_MODELS]


def test_a_camera_alone_has_no_tail() -> None:
    """One stream at a rate that leaves time between its frames waits for nothing."""
    rows = [row("stream", 5.0, streams=1, load=HALF, offered_fps=5.0)]
    assert cost.half_load_floors(_PARTS, rows) == {EMBEDDED: pytest.approx(1.0)}
