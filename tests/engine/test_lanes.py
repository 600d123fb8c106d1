import threading
import time

import pytest

from itkit.engine.lanes import Lanes


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_stand_in_the_order_of_the_work(threads):
    with Lanes[int](threads) as lanes:
        for number in range(40):
            if number % 7 == 3:
                lanes.done(number)
            else:
                lanes.add(lambda number=number: (time.sleep(0.001 * (number % 3)), number)[1])
        assert list(lanes.results()) == list(range(40))


def test_one_thread_works_in_the_callers_own():
    with Lanes[str](1) as lanes:
        lanes.add(lambda: threading.current_thread().name)
        assert list(lanes.results()) == [threading.current_thread().name]


def test_few_pieces_wait_at_a_time():
    made = []

    def work(number):
        time.sleep(0.01)
        return len(made) - number

    with Lanes[int](2) as lanes:
        for number in range(60):
            made.append(number)
            lanes.add(lambda number=number: work(number))
        assert max(lanes.results()) <= 2 * 4 + 2


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failure_is_raised_and_stops_the_rest(threads):
    started = []

    def fail():
        started.append(1)
        raise OSError(28, "No space left on device")

    def run():
        with Lanes[None](threads) as lanes:
            for _ in range(100):
                lanes.add(fail)
            lanes.results()

    with pytest.raises(OSError, match="No space"):
        run()
    assert len(started) < 100
