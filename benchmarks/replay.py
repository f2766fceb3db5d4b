"""Show samples that were taken elsewhere as a pytest-benchmark result.

pytest-benchmark times one function after the other, with the host's clock. Here providers take turns, and on a GPU the
device keeps the time; so the benchmark runs on a clock that each of its rounds moves on by one sample.
"""

from typing import Any


class SampleClock:
    """A clock that stands still but for `tick`, which moves it on by the next sample."""

    def __init__(self) -> None:
        self.now = 0.0
        self._pending: list[float] = []

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += self._pending.pop(0)

    def play(self, benchmark: Any, samples: list[float]) -> None:
        """Let `benchmark` (made with `timer=self`) see these samples, in seconds, one a round."""
        self._pending = list(samples)
        benchmark.pedantic(self.tick, rounds=len(samples))


CLOCK = SampleClock()
