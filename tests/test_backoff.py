"""Waiting times grow, are cut at random, and stay below the longest."""

import random
from itertools import islice

from daemon.backoff import delays


class Fixed(random.Random):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


def test_they_grow_to_the_longest_and_stay_there() -> None:
    assert list(islice(delays(0.1, 2, 0.5, Fixed(1.0)), 5)) == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_chance_cuts_by_half_at_most() -> None:
    assert list(islice(delays(0.1, 2, 0.5, Fixed(0.0)), 4)) == [0.05, 0.1, 0.2, 0.25]


def test_two_clients_wait_differently() -> None:
    assert list(islice(delays(1, 2, 30), 3)) != list(islice(delays(1, 2, 30), 3))


def test_it_never_ends() -> None:
    assert 15 <= next(islice(delays(1, 2, 30), 5000, None)) <= 30
