"""What waits for the broker comes out as it went in, and takes little room."""

import json
import tracemalloc
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.sources.mqtt_backlog import PAGE, Backlog
from daemon.sources.mqtt_wire import Message

_counts = st.integers(1, 3 * PAGE)
_steps = st.one_of(
    st.tuples(st.just("append"), _counts),
    st.tuples(st.just("popleft"), _counts),
    st.tuples(st.just("put_back"), st.integers(1, 20)),
    st.tuples(st.just("clear"), st.just(1)),
)


def message(number: int) -> Message:
    return Message(f"trading/outcomes/ü-{number}", json.dumps({"id": f"\0ü-{number}"}, ensure_ascii=False).encode())


@given(st.lists(_steps, max_size=15))
def test_like_a_deque(steps: list[tuple[str, int]]) -> None:
    backlog, model, number = Backlog(), deque[Message](), 0
    for step, count in steps:
        fresh = [message(number + n) for n in range(count)]
        number += count
        match step:
            case "append":
                backlog.extend(fresh)
                model.extend(fresh)
            case "popleft":
                for _ in range(min(count, len(model))):
                    assert backlog.popleft() == model.popleft()
            case "put_back":
                backlog.put_back(iter(fresh))
                model.extendleft(reversed(fresh))
            case "clear":
                backlog.clear()
                model.clear()
        assert len(backlog) == len(model)
        assert list(backlog) == list(model)


def test_empty() -> None:
    backlog = Backlog()
    assert not backlog
    with pytest.raises(IndexError):
        backlog.popleft()


def test_ten_thousand_take_little_room() -> None:
    body = {"type": "entry", "symbol": "AAPL", "result": "done", "reason": "", "mode": "live", "target": "main"}
    tracemalloc.start()
    try:
        backlog = Backlog()
        for number in range(10_000):
            about = json.dumps({"id": f"e-{number * 7919 % 10_007}", "latency_ms": number / 7, **body}).encode()
            backlog.append(Message(f"trading/outcomes/e-{number}", about))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 1024 * 1024, size
