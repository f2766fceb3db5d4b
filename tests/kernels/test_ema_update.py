"""ema_update_ against float64."""

import pytest
import torch

from aevae_fast import reference
from aevae_fast.kernels.ema_update import ema_update_


def state(size, dimension, device):
    torch.manual_seed(0)
    shapes = {"codebook": (size, dimension), "embed_avg": (size, dimension), "sums": (size, dimension)}
    made = {name: torch.randn(shape).to(device) for name, shape in shapes.items()}
    made["cluster_size"] = torch.rand(size).to(device) * 10
    made["counts"] = torch.randint(0, 20, (size,)).float().to(device)
    return made


def update(s, normalize, decay=0.9, eps=1e-5):
    ema_update_(s["codebook"], s["cluster_size"], s["embed_avg"], s["counts"], s["sums"], decay, eps, normalize)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("size", "dimension"), [(1, 1), (33, 17), (100, 64), (7, 300)])
def test_update(size, dimension, normalize, device):
    s = state(size, dimension, device)
    before = {name: t.double() for name, t in s.items()}
    update(s, normalize)
    n = 0.9 * before["cluster_size"] + 0.1 * before["counts"]
    m = 0.9 * before["embed_avg"] + 0.1 * before["sums"]
    expected = m / m.norm(dim=-1, keepdim=True)
    if not normalize:
        expected = m / ((n + 1e-5) / (n.sum() + size * 1e-5) * n.sum())[:, None]
    # decay and its rest come as fp32, each within 2^-24; m may cancel, so its error is measured on its terms.
    terms = 0.9 * before["embed_avg"].abs() + 0.1 * before["sums"].abs()
    factor = (expected / m).abs()
    assert ((s["cluster_size"].double() - n).abs() <= 4 * 2.0**-24 * n).all()
    assert ((s["embed_avg"].double() - m).abs() <= 4 * 2.0**-24 * terms).all()
    # Divisor: a sum over K or D and a handful of operations beside the error of m.
    relative = (max(size, dimension) + 16) * 2.0**-24
    assert (
        (s["codebook"].double() - expected).abs() <= factor * 4 * 2.0**-24 * terms + 4 * relative * expected.abs()
    ).all()
    assert torch.equal(s["counts"].double(), before["counts"])


@pytest.mark.parametrize("normalize", [False, True])
def test_no_rows_ever_leaves_the_codebook(normalize, device):
    s = state(20, 8, device)
    s["cluster_size"].zero_()
    s["counts"].zero_()
    before = s["codebook"].clone()
    update(s, normalize)
    assert torch.equal(s["codebook"], before)


def test_a_zero_mean_keeps_its_code_under_cosine(device):
    s = state(20, 8, device)
    s["embed_avg"][3] = s["sums"][3] = 0
    before = s["codebook"][3].clone()
    update(s, True)
    assert torch.equal(s["codebook"][3], before)
    assert s["codebook"].isfinite().all()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("share", "least"), [(0.9, 0.0), (0.0, 3.0)], ids=["of the mean", "given"])
@pytest.mark.parametrize(("size", "dimension"), [(33, 17), (7, 300)])
def test_dead_codes_are_replaced(size, dimension, share, least, normalize, device):
    s, plain = (state(size, dimension, device) for _ in range(2))
    together = torch.randint(0, 3, (size, 1), device=device).float()
    given = torch.cat([torch.randn(size, dimension, device=device) * together, together], 1)
    steps = torch.tensor(4, device=device)
    update(plain, normalize)
    moved = [plain[name] for name in ("codebook", "cluster_size", "embed_avg")]
    threshold = share * plain["cluster_size"].mean() + least
    dead = (plain["cluster_size"] < threshold) & (together[:, 0] > 0)
    assert 0 < dead.sum() < size
    expected = reference.replace_dead(*moved, given, threshold=threshold, grace=1.05)
    ema_update_(
        s["codebook"], s["cluster_size"], s["embed_avg"], s["counts"], s["sums"], 0.9, 1e-5, normalize,
        given, share, least, 1.05, steps,
    )  # fmt: skip
    assert steps == 5
    for name, truth in zip(("codebook", "cluster_size", "embed_avg"), expected, strict=True):
        assert torch.equal(s[name][~dead], truth[~dead])
        torch.testing.assert_close(s[name][dead], truth[dead], rtol=4 * 2.0**-23, atol=0)


@pytest.mark.parametrize("size", [1, 128, 129, 5000])
def test_an_empty_step_leaves_all_as_it_was(size, device):
    s, steps = state(size, 3, device), torch.tensor(4, device=device)
    s["counts"].zero_()
    before = {name: t.clone() for name, t in s.items()}
    given = torch.ones(size, 4, device=device)
    for count in (0, 1):
        s["counts"][-1] = count  # seen wherever it is
        ema_update_(*(s[n] for n in ("codebook", "cluster_size", "embed_avg", "counts", "sums")), 0.9, 1e-5, False,
            given, 0.0, 1e9, 1.0, steps)  # fmt: skip
        assert steps == 4 + count
        same = [torch.equal(s[name], before[name]) for name in ("codebook", "cluster_size", "embed_avg")]
        assert same == [not count] * 3
