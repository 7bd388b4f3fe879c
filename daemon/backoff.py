"""How long to wait before the next try."""

import random
from collections.abc import Iterator


def delays(first: float, factor: float, longest: float, rng: random.Random | None = None) -> Iterator[float]:
    """Endless waiting times in seconds: `first`, growing by `factor` up to `longest`, each cut by up to half at random.

    The cut keeps many clients of one restarted peer apart; it only ever shortens, so `longest` holds.
    """
    chance = rng or random.Random()
    step = first
    while True:
        yield step * (0.5 + 0.5 * chance.random())
        step = min(step * factor, longest)
