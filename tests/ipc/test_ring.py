"""The ring against a list: whatever is pushed comes out once, whole and in order, wherever the ring wraps around."""

from __future__ import annotations

import secrets
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from channel_layers.ipc import segment
from channel_layers.ipc.mailbox import GROUP, NO_ROOM, TOO_LARGE, Mailbox, Shape
from channel_layers.ipc.reader import Reader
from channel_layers.ipc.ring import HEAD, TAIL, Ring
from channel_layers.ipc.segment import HEADER
from channel_layers.ipc.wakeup import Rope

SIZE = 67  # prime, so that records begin everywhere


def make_segment(size: int) -> segment.Segment:
    name = f"/cl-test-{secrets.token_hex(4)}"
    made = segment.create(name, (size + 7) // 8 * 8, 0o600)
    segment.unlink(name)
    return made


@pytest.fixture
def ring() -> Ring:
    return Ring(make_segment(HEADER + SIZE), HEADER, SIZE)


@pytest.mark.parametrize("start", range(SIZE))
def test_an_exact_fit_and_one_byte_more(ring: Ring, start: int) -> None:
    """Wherever the ring stands, it takes as many bytes as it has, and not one more."""
    ring.words[HEAD] = ring.words[TAIL] = start
    record = bytes(range(SIZE))
    assert not ring.push(record + b"!")
    assert ring.words[HEAD] == start
    assert ring.push(record)
    assert ring.free == 0
    assert not ring.push(b"!")
    assert ring.read(start, SIZE) == record


@pytest.mark.parametrize("missing", [0, 1])
def test_one_byte_short(ring: Ring, missing: int) -> None:
    assert ring.push(b"x" * 40)
    assert ring.push(b"y" * (SIZE - 40 + missing)) is (missing == 0)


class RingMachine(RuleBasedStateMachine):
    """Pushing and taking in any order; the model is a list of records."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(make_segment(HEADER + SIZE), HEADER, SIZE)
        self.model: deque[bytes] = deque()

    @rule(record=st.binary(min_size=1, max_size=SIZE + 2))
    def push(self, record: bytes) -> None:
        fits = sum(map(len, self.model)) + len(record) <= SIZE
        assert self.ring.push(record) is fits
        if fits:
            self.model.append(record)

    @precondition(lambda self: self.model)
    @rule()
    def take(self) -> None:
        record = self.model.popleft()
        tail = self.ring.words[TAIL]
        assert self.ring.read(tail, len(record)) == record
        self.ring.words[TAIL] = tail + len(record)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert self.ring.read(self.ring.words[TAIL], SIZE - self.ring.free) == b"".join(self.model)


class MailboxMachine(RuleBasedStateMachine):
    """A mailbox of 300 bytes: records of all lengths, batches of all lengths, a flush now and then."""

    shape = Shape(64, 64, 300)

    def __init__(self) -> None:
        super().__init__()
        made = make_segment(self.shape.size)
        self.shape.write(made)
        self.mailbox = Mailbox(made, self.shape, Rope("/nowhere"))
        self.reader: Reader = Reader(self.mailbox, self.notice_flush)
        self.sent: deque[bytes] = deque()
        self.mailbox.count_group(1)

    def notice_flush(self) -> None:
        self.reader.notice_flush()

    @rule(payload=st.binary(max_size=310))
    def push(self, payload: bytes) -> None:
        words = self.mailbox.words
        room = 300 - (words[HEAD] - words[TAIL])
        outcome = self.mailbox.push_control(GROUP, b"name", payload, 1)
        length = 22 + len(payload)
        assert outcome == (TOO_LARGE if length > 300 else NO_ROOM if length > room else None)
        if outcome is None:
            self.sent.append(payload)

    @rule(peeks=st.booleans())
    def take(self, peeks: bool) -> None:
        count = self.reader.peek() if peeks else self.reader.look(True)
        while count:
            before = self.reader.taken
            for record in self.reader.copy(count):
                assert record[:3] == (GROUP, b"name", self.sent.popleft())
            count -= self.reader.taken - before
        assert not self.sent

    @rule()
    def flush(self) -> None:
        self.mailbox.flush()
        self.mailbox.count_group(1)
        self.sent.clear()


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
