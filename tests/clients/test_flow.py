"""Which frame goes out next, and which frame an answer is for."""

from collections import deque

from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import DropReason, Frame, FrameError, Result
from crowd_detector._flow import Flow, WhenFull
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.faults import result


def frame(name: object) -> Frame:
    return Frame(b"", frame_id=str(name))


def test_no_more_than_allowed_are_in_flight_until_answers_are_taken() -> None:
    """An answer that its caller has not taken counts, so that slow callers slow down the sending."""
    flow = Flow(max_in_flight=2, when_full=WhenFull.WAIT)
    for number in range(2):
        assert flow.has_room
        flow.offer(frame(number))
        assert flow.take() is not None
    flow.offer(frame(2))
    assert not flow.has_room
    assert flow.take() is None
    answer = flow.answer(result(1))
    assert isinstance(answer, Result)
    assert answer.frame is not None
    assert answer.frame.frame_id == "0"
    assert flow.take() is None
    flow.taken()
    assert flow.take() == frame(2)


def test_the_newest_frame_takes_the_place_of_the_one_that_waits() -> None:
    """And the next answer says that one was dropped for it."""
    flow = Flow(max_in_flight=1, when_full=WhenFull.NEWEST)
    flow.offer(frame("a"))
    flow.take()
    flow.offer(frame("b"))
    flow.offer(frame("c"))
    answer = flow.answer(result(1))
    assert isinstance(answer, Result)
    assert answer.dropped == {DropReason.SUPERSEDED: 1}
    flow.taken()
    assert flow.take() == frame("c")


def test_frames_the_service_dropped_make_room() -> None:
    """An answer to a later frame says that those before it will have none."""
    flow = Flow(max_in_flight=3, when_full=WhenFull.WAIT)
    for number in range(3):
        flow.offer(frame(number))
        flow.take()
    response = result(3)
    response.drops.add(reason=pb.DROP_REASON_RATE_LIMITED, count=2)
    answer = flow.answer(response)
    assert isinstance(answer, Result)
    assert answer.frame == frame(2)
    assert answer.dropped == {DropReason.RATE_LIMITED: 2}
    assert flow.outstanding == 0


def test_a_frame_that_was_passed_over_without_a_word_is_counted_all_the_same() -> None:
    """Whatever the service does, the sums are right."""
    flow = Flow(max_in_flight=3, when_full=WhenFull.WAIT)
    for number in range(2):
        flow.offer(frame(number))
        flow.take()
    flow.answer(result(2))
    assert flow.summary().dropped == {DropReason.UNKNOWN: 1}


def test_a_loss_sends_again_what_was_not_answered() -> None:
    """Where every frame counts: in the old order, before those that wait."""
    flow = Flow(max_in_flight=3, when_full=WhenFull.WAIT)
    for number in range(3):
        flow.offer(frame(number))
        flow.take()
    flow.offer(frame(3))
    flow.answer(result(1))
    flow.taken()
    flow.lost()
    flow.begin_call()
    assert [flow.take() for _ in range(3)] == [frame(1), frame(2), frame(3)]


def test_a_loss_drops_what_was_not_answered() -> None:
    """Where only now counts."""
    flow = Flow(max_in_flight=3, when_full=WhenFull.NEWEST)
    for number in range(2):
        flow.offer(frame(number))
        flow.take()
    flow.lost()
    assert flow.outstanding == 0
    assert flow.summary().dropped == {DropReason.CONNECTION_LOST: 2}


def test_an_error_of_a_frame_comes_with_its_frame() -> None:
    """And is counted as an error."""
    flow = Flow(max_in_flight=1, when_full=WhenFull.WAIT)
    flow.offer(frame("bad"))
    flow.take()
    error = pb.FrameError(
        frame=pb.FrameInfo(sequence=1, frame_id="bad"),
        reason=pb.ERROR_REASON_TRUNCATED_IMAGE,
        message="it ends before its end",
    )
    answer = flow.answer(pb.StreamDetectionsResponse(error=error))
    assert isinstance(answer, FrameError)
    assert (answer.reason, answer.frame, answer.frame_id) == (
        "TRUNCATED_IMAGE",
        frame("bad"),
        "bad",
    )
    assert flow.summary().errors == 1


@given(
    st.lists(st.sampled_from(["offer", "take", "answer", "drop", "taken", "lost"]), max_size=200),
    st.integers(1, 5),
    st.sampled_from(WhenFull),
)
def test_whatever_happens_the_sums_are_right(
    steps: list[str], max_in_flight: int, when_full: WhenFull
) -> None:
    """Every frame is answered once, dropped, or still here; what is held is bounded; order is kept."""
    flow = Flow(max_in_flight=max_in_flight, when_full=when_full)
    sent: deque[int] = deque()  # by number in the call, as the service has them
    number = offered = answered = untaken = 0
    names: list[int] = []
    for step in steps:
        if step == "offer" and flow.has_room:
            flow.offer(frame(offered))
            offered += 1
        elif step == "take" and flow.take() is not None:
            number += 1
            sent.append(number)
        elif step in {"answer", "drop"} and sent:
            first = sent.popleft()
            if step == "drop" and sent:
                drops = [pb.DropCount(reason=pb.DROP_REASON_SUPERSEDED, count=1)]
                response = result(sent.popleft())
                response.drops.extend(drops)
            else:
                response = result(first)
            answer = flow.answer(response)
            assert isinstance(answer, Result)
            assert answer.frame is not None
            names.append(int(answer.frame.frame_id))
            answered += 1
            untaken += 1
        elif step == "taken" and untaken:
            flow.taken()
            untaken -= 1
        elif step == "lost":
            flow.lost()
            flow.begin_call()
            sent.clear()
            number = 0
        summary = flow.summary()
        assert summary.frames == offered
        assert summary.results == answered
        assert flow.outstanding == len(sent)
        waiting = offered - answered - sum(summary.dropped.values()) - len(sent)
        assert 0 <= waiting <= 1 + max_in_flight
        assert len(sent) <= max_in_flight
    assert names == sorted(set(names))
    if when_full is WhenFull.WAIT:
        assert DropReason.CONNECTION_LOST not in flow.summary().dropped
