"""Codebook usage against counting by hand."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aevae_fast.metrics import CodebookUsage, code_counts, entropy_bits, perplexity

index_lists = st.lists(st.integers(-1, 9), max_size=60)


@given(index_lists)
def test_counts_are_those_of_counting_one_by_one(indices):
    counted = Counter(index for index in indices if index >= 0)
    expected = [counted[code] for code in range(10)]
    assert code_counts(torch.tensor(indices, dtype=torch.int64), 10).tolist() == expected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any))
def test_perplexity_is_exp_of_the_natural_entropy(counts):
    shares = [count / sum(counts) for count in counts if count]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert perplexity(torch.tensor(counts)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param([7, 0, 0, 0], 1.0, id="one-code"),
        pytest.param([3, 3, 3, 3], 4.0, id="all-alike"),
        pytest.param([0, 0, 0, 0], 1.0, id="nothing-counted"),
    ],
)
def test_perplexity_at_its_ends(counts, expected):
    assert perplexity(torch.tensor(counts)) == expected
    assert entropy_bits(torch.tensor(counts)) == math.log2(expected)


@given(st.lists(index_lists, min_size=1, max_size=5))
def test_usage_over_batches_is_usage_over_all_of_them(batches):
    apart, joined = CodebookUsage(10), CodebookUsage(10)
    for batch in batches:
        apart.update(torch.tensor(batch, dtype=torch.int64))
    joined.update(torch.tensor([index for batch in batches for index in batch], dtype=torch.int64))
    a, b = apart.compute(), joined.compute()
    assert a.counts.tolist() == b.counts.tolist()
    assert (a.perplexity, a.usage, a.dead_codes) == (b.perplexity, b.usage, b.dead_codes)
    used = {index for batch in batches for index in batch if index >= 0}
    assert a.dead_codes == 10 - len(used)
    assert a.usage == pytest.approx(len(used) / 10)


def test_errors_name_what_came():
    with pytest.raises(TypeError, match=r"indices.*float32"):
        code_counts(torch.zeros(3), 4)
    with pytest.raises(ValueError, match=r"indices.*got \[0, 4\]"):
        code_counts(torch.tensor([0, 4]), 4)
    with pytest.raises(ValueError, match=r"codebook_size.*got 0"):
        CodebookUsage(0)
