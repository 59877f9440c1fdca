"""The queue: the newest frame wins, answers keep their order, what a call had is lost with it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.frame_queue import Entry, FrameQueue, Message

MAX_FRAMES, MAX_BYTES, MAX_TRIES = 3, 100, 2


class QueueMachine(RuleBasedStateMachine):
    """Plays client and detector; every message must be answered, dropped or lost exactly once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FrameQueue(max_frames=MAX_FRAMES, max_bytes=MAX_BYTES, max_tries=MAX_TRIES)
        self.sequence = 0
        self.calls: list[Entry] = []
        self.told: list[int] = []
        self.gone = 0

    def tell(self) -> None:
        """Send what is ready."""
        while entry := self.queue.ready(in_order=True):
            assert entry.answer is not None
            self.told.append(int(entry.answer.data))

    def entry(self, size: int = 0) -> Entry:
        """Return the client's next message."""
        self.sequence += 1
        return Entry(self.sequence, request=b"frame", size=size)

    def answer(self, entry: Entry) -> None:
        """Have a message answered."""
        entry.answer = Message(str(entry.sequence).encode(), text=True)

    @rule(size=st.integers(0, 150))
    def frame(self, size: int) -> None:
        """A frame comes."""
        self.gone += self.queue.put_frame(self.entry(size))

    @rule()
    def nonsense(self) -> None:
        """A message that is refused."""
        entry = self.entry()
        self.answer(entry)
        self.queue.put_answer(entry)
        self.tell()

    @rule()
    def send(self) -> None:
        """The detector takes a frame."""
        entry = self.queue.next_frame()
        if entry is not None:
            self.calls.append(entry)
            assert entry.request is not None
            assert entry.call_sequence == len(self.calls)

    @precondition(lambda self: self.queue.in_flight)
    @rule(data=st.data())
    def detector_answers(self, data: st.DataObject) -> None:
        """One of the frames that it has; it has dropped those before it."""
        open_frames = [each for each in self.calls if each.call_sequence]
        chosen = data.draw(st.sampled_from(open_frames))
        before = sum(each.call_sequence < chosen.call_sequence for each in open_frames)
        self.gone += before
        number = chosen.call_sequence
        found = self.queue.answered(number)
        assert found is chosen
        for each in open_frames[:before]:
            each.call_sequence = 0  # dropped
        assert self.queue.answered(number) is None
        self.answer(found)
        self.tell()

    @rule(had_them=st.booleans())
    def call_ends(self, *, had_them: bool) -> None:
        """The detector goes away."""
        losses = self.queue.call_ended(had_them=had_them)
        self.gone += losses.lost
        if losses.given_up is not None:
            assert losses.given_up.tries == MAX_TRIES
            self.answer(losses.given_up)
        self.calls.clear()
        self.tell()

    @invariant()
    def bounded(self) -> None:
        """Frames that wait, and their bytes."""
        waiting = list(self.queue._waiting)
        assert len(waiting) <= MAX_FRAMES
        assert len(waiting) <= 1 or sum(each.size for each in waiting) <= MAX_BYTES
        assert self.queue._waiting_bytes == sum(each.size for each in waiting)
        kept = [
            each for each in self.queue._entries if each.request is not None and not each.answer
        ]
        assert len(kept) <= MAX_FRAMES + 1

    @invariant()
    def in_order_and_complete(self) -> None:
        """Nothing is told twice or out of turn, and nothing disappears."""
        assert self.told == sorted(set(self.told))
        assert len(self.told) + self.gone + len(self.queue) == self.sequence


QueueMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase


def test_the_newest_frame_of_a_call_is_sent_again() -> None:
    """Unless a newer one waits."""
    queue = FrameQueue(max_frames=2, max_bytes=1000, max_tries=2)
    for number in (1, 2):
        queue.put_frame(Entry(number, request=b"frame %d" % number))
        queue.next_frame()
    assert queue.call_ended(had_them=True) == (1, None)
    again = queue.next_frame()
    assert again is not None
    assert (again.sequence, again.request, again.call_sequence) == (2, b"frame 2", 1)
    queue.put_frame(Entry(3, request=b"frame"))
    assert queue.call_ended(had_them=True) == (1, None)
    assert queue.waiting == 1


def test_out_of_order_where_nobody_answers() -> None:
    """Refusals need not wait for frames that no detector has."""
    queue = FrameQueue(max_frames=2, max_bytes=1000, max_tries=2)
    queue.put_frame(Entry(1, request=b"frame"))
    refusal = Entry(2, answer=Message(b"2", text=True))
    queue.put_answer(refusal)
    assert queue.ready(in_order=True) is None
    assert queue.ready(in_order=False) is refusal
    assert len(queue) == 1
