"""Threads beside the main one end with the block that uses them."""

import threading
import time

import pytest

from healthivert.threads import one_beside


def test_a_signal_while_the_thread_starts_leaves_no_work_behind(monkeypatch):
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    written = []
    with pytest.raises(KeyboardInterrupt), one_beside() as beside:
        beside.submit(written.append, "a file")
    time.sleep(0.2)
    assert written == []


def test_a_signal_during_the_block_waits_for_the_work_in_hand():
    written = []

    def write() -> None:
        time.sleep(0.2)
        written.append("a file")

    with pytest.raises(KeyboardInterrupt), one_beside() as beside:
        beside.submit(write)
        raise KeyboardInterrupt
    assert written == ["a file"]
