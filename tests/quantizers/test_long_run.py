"""Some thousand EMA steps on data that drifts; `benchmarks/results/long_run.json` is of twenty thousand."""

import pytest

from benchmarks.long_run import live


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_codes_stay_in_use_and_stay_means(kind: str) -> None:
    found = live(kind, steps=2000)
    for stage, dead in enumerate(found["dead"]):
        assert dead == 0
        assert found["moves"][stage] == 2000
        # A replaced code brings a count of half of uniform, with which all counts decay to the batch's size again.
        least, most = found["total"][stage]
        assert least > 0.999
        assert most < 1.5
        # e = m/n̂ in float32: five roundings, half a unit each, of which n̂ has four, and as much for the sum of counts
        assert found["drift"][stage] < 5
        assert found["perplexity"][stage] > 0.5
    assert found["error"] < 1.2 * found["first"]
