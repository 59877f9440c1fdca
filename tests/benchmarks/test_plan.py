import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.plan import (
    FAIRNESS,
    HALF,
    IDLE,
    MAIN_CELL,
    SATURATION,
    STREAMS,
    TWICE,
    Cell,
    Plan,
    another_fits,
    cells,
    peer_cells,
    rates,
    turned,
)
from benchmarks.setups import EMBEDDED, TWO_MODELS


@pytest.mark.parametrize(("load", "share"), [(HALF, 0.5), (SATURATION, 1.1), (TWICE, 2.0)])
@pytest.mark.parametrize("streams", STREAMS)
def test_a_load_is_a_share_of_what_the_contender_answers(
    load: str, share: float, streams: int
) -> None:
    due = rates(Cell(streams, load), 100.0)
    assert len(due) == streams
    assert sum(due) == pytest.approx(100 * share)
    assert len(set(due)) == 1


def test_a_tail_is_told_of_more_frames_than_a_median() -> None:
    plan = Plan(rounds=1, seconds=3.0, warm_up=1.0, minutes=40.0, quick=False)
    assert plan.seconds_of(MAIN_CELL) == 3.0
    assert plan.seconds_of(Cell(16, HALF)) == 9.0


def test_an_idle_server_sees_a_frame_now_and_then_whatever_it_could_do() -> None:
    assert rates(Cell(1, IDLE), 100.0) == rates(Cell(1, IDLE), 10_000.0)


def test_one_stream_floods_and_the_others_ask_for_a_little_more_than_their_share() -> None:
    flood, *others = rates(Cell(8, FAIRNESS), 80.0)
    assert flood == 80.0
    assert len(others) == 7
    assert all(10 < rate < 20 for rate in others)


def test_all_numbers_of_streams_are_saturated_with_the_embedded_model() -> None:
    measured = [cells(EMBEDDED, transport, 1, quick=False) for transport in ("stream", "ws-json")]
    measured.append(peer_cells(EMBEDDED, 1, all_loads=True))
    for each in measured:
        assert [c.streams for c in each if c.load == SATURATION] == list(STREAMS)


def test_the_stream_is_measured_alike_with_two_models_and_the_others_where_ratios_are_taken() -> (
    None
):
    for number in (1, 2):
        of_one = cells(EMBEDDED, "stream", number, quick=False)
        assert cells(TWO_MODELS, "stream", number, quick=False) == of_one
    assert cells(TWO_MODELS, "ws-json", 1, quick=False) == [MAIN_CELL]
    assert peer_cells(TWO_MODELS, 1, all_loads=True) == [MAIN_CELL]


def test_what_no_ratio_needs_is_measured_in_the_first_round_alone() -> None:
    """Of the other transports and of peers; the stream's ratios need all loads."""
    for number in (1, 2, 3):
        stream, *others = [
            cells(EMBEDDED, transport, number, quick=False)
            for transport in ("stream", "unary", "ws-json", "ws-binary")
        ]
        others.append(peer_cells(EMBEDDED, number, all_loads=True))
        assert {(load.streams, load.load) for load in stream} >= {
            (16, HALF),
            (1, IDLE),
            (8, FAIRNESS),
        }
        for measured in others:
            assert (len(measured) > 1) == (number == 1)
            assert MAIN_CELL in measured


@pytest.mark.parametrize(
    ("took", "left", "fits"),
    [
        ([700.0], 600.0, False),
        ([700.0], 700.0, True),
        ([700.0, 400.0], 450.0, True),
        ([700.0, 400.0, 500.0], 450.0, False),
    ],
)
def test_a_long_first_round_forbids_no_short_one(
    took: list[float], left: float, fits: bool
) -> None:
    """But the second: until it is over nobody knows how short it is."""
    assert another_fits(took, left) is fits


def test_what_a_ratio_is_taken_from_is_measured_in_every_round() -> None:
    for number in (1, 2):
        assert MAIN_CELL in cells(EMBEDDED, "ws-binary", number, quick=False)
        for all_loads in (True, False):
            assert MAIN_CELL in peer_cells(EMBEDDED, number, all_loads=all_loads)


def test_a_quick_run_measures_each_transport_once() -> None:
    assert cells(EMBEDDED, "stream", 1, quick=True) == [MAIN_CELL]


@given(st.lists(st.integers(), min_size=1), st.integers(1, 50))
def test_every_round_has_everybody(items: list[int], number: int) -> None:
    assert sorted(turned(items, number)) == sorted(items)


def test_each_round_begins_with_another() -> None:
    assert [turned("abc", number) for number in (1, 2, 3, 4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]
