"""How many rows the certificate leaves open, and how much they cost: by shape, data and product. Shares, which do not
depend on the number of rows."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import kinds
from .codes import Codes, prepare
from .rescan import candidate_counts
from .scheme import Scheme, scheme_for
from .sweep import VERDICTS, Verdict, sweep

SHAPES = ((64, 1024), (256, 16384), (8, 16384), (16, 1024), (32, 1024), (128, 1024), (128, 8192), (64, 512))  # D, K
PARTS_SHAPES = ((8, 1024), (16, 1024), (32, 1024), (8, 16384), (16, 16384), (32, 16384))
_PATCHES = {8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16)}
_SCORES = 1 << 21


def photo_patches(n: int, dim: int, g: torch.Generator) -> Tensor:
    """[n, dim] float32 in [0, 1]: grey patches of the two photographs that come with scikit-learn, at random places."""
    from sklearn.datasets import load_sample_images

    height, width = _PATCHES[dim]
    images = torch.stack([torch.tensor(image) for image in load_sample_images().images]).float().mean(3) / 255
    windows = images.unfold(1, height, 1).unfold(2, width, 1)
    place = [torch.randint(size, (n,), generator=g) for size in windows.shape[:3]]
    return windows[tuple(place)].flatten(1)


def photos(g: torch.Generator, n: int, size: int, dim: int) -> kinds.Case:
    rows = photo_patches(n + 2 * size + 4096, dim, g)
    return rows[:n], kinds.k_means(rows[n:], size, g, 3)


def photo_features(g: torch.Generator, n: int, size: int, dim: int) -> kinds.Case:
    """Patches of 8x8 through a random layer, ReLU and a second one, each row then normalized, as encoders end."""
    rows = photo_patches(n + 2 * size + 4096, 64, g)
    first, second = torch.randn(64, 256, generator=g) / 8, torch.randn(256, dim, generator=g) / 16
    rows = torch.nn.functional.layer_norm((rows - rows.mean(0)) @ first, (256,)).relu() @ second
    rows = torch.nn.functional.layer_norm(rows, (dim,))
    return rows[:n], kinds.k_means(rows[n:], size, g, 3)


_DATA: dict[str, kinds.Kind] = {
    "N(0, 1)": kinds.normal,
    "mixture, k-means": kinds.trained,
    "photo patches, k-means": photos,
    "photo features, k-means": photo_features,
    "offset 1000 ± 0.01": kinds.offset,
    "tiny codes": kinds.tiny_codes,
    "codes 1 ulp apart": kinds.one_ulp,
    "two clusters, width 0.01": partial(kinds.two_clusters, width=1e-2),
    "two clusters, width 0.0001": partial(kinds.two_clusters, width=1e-4),
    "all rows open": kinds.sample_apart,
}


def measure(x: Tensor, codebook: Tensor, scheme: Scheme) -> dict[str, Any]:
    """Shares of rows by verdict, and of those that are "narrowed"; per row the mean number of groups and codes looked
    at again. Where there are two sweeps, by verdict of each as well: of all rows, which is all where few are left open;
    of those that come to the second, whose share of all is "rows"."""
    codes = prepare(codebook, "euclidean", scheme)
    first, second, settled = torch.zeros(3, len(VERDICTS) + 2)
    for part in x.split(max(1, _SCORES // len(codes.order))):
        found = sweep(part, codes)
        again = found.again & (codes.again is not None)
        first += _tally(found, codes)
        settled += _tally(found, codes, ~again)
        if codes.again and again.any():
            second += _tally(sweep(part[again], codes.again), codes.again)
    result: dict[str, Any] = _shares(settled + second, len(x))
    result["narrowed"] = result["wide"] if codes.narrows else 0.0
    if codes.again:
        left = float(second[: len(VERDICTS)].sum())
        result["first sweep"] = _shares(first, len(x))
        result["second sweep"] = {"rows": left / len(x), **_shares(second, max(left, 1.0))}
    return result


def _tally(found: Verdict, codes: Codes, of: Tensor | None = None) -> Tensor:
    """[6]: rows by verdict; groups and codes that they look at again."""
    of = torch.ones_like(found.again) if of is None else of
    count = torch.bincount(found.kind[of], minlength=len(VERDICTS)).float()
    return torch.cat([count, torch.stack([n.sum() for n in candidate_counts(found.candidates[:, of], codes)])])


def _shares(tally: Tensor, rows: float) -> dict[str, float]:
    return dict(zip((*VERDICTS, "groups", "codes"), (tally / rows).tolist(), strict=True))


def shares(rows: int) -> Iterator[dict[str, Any]]:
    """One entry a shape, data and product."""
    for dim, size in SHAPES:
        for name, kind in _DATA.items():
            few = rows if size < 16384 else rows // 4
            x, codebook = kind(torch.Generator().manual_seed(dim), few, size, dim)
            for scheme in _schemes(dim):
                yield _entry(name, x, codebook, scheme)
    for dim, size in PARTS_SHAPES:
        for name in ("N(0, 1)", "mixture, k-means"):
            x, codebook = _DATA[name](torch.Generator().manual_seed(dim), rows // 2, size, dim)
            for parts in (1, 3):
                yield _entry(name, x, codebook, scheme_for(dim, parts))


def _schemes(dim: int) -> tuple[Scheme, ...]:
    """What the search takes, one product of bfloat16, and three parts where it takes one."""
    taken, bfloat = scheme_for(dim), scheme_for(dim, 1, torch.bfloat16)
    return (taken, bfloat) if taken.parts == 3 else (taken, bfloat, scheme_for(dim, 3))


def _entry(name: str, x: Tensor, codebook: Tensor, scheme: Scheme) -> dict[str, Any]:
    case = {"dim": scheme.dim, "codes": len(codebook), "data": name, "rows": len(x)}
    product = {"product": str(scheme.dtype).removeprefix("torch."), "parts": scheme.parts}
    return {**case, **product, "shares": measure(x, codebook, scheme)}
