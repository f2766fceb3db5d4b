"""Inputs that the kernels' tests share, and the float64 judge of an index."""

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def scores(x: torch.Tensor, codebook: torch.Tensor, metric: str) -> torch.Tensor:
    """[N, K] float64, to be minimised: by brute force."""
    rows, codes = x.reshape(-1, x.shape[-1]).double().cpu(), codebook.double().cpu()
    if metric == "euclidean":
        return torch.stack([(rows - code).square().sum(-1) for code in codes], 1)
    if metric == "cosine":
        codes = torch.nn.functional.normalize(codes, dim=-1)
    return -rows @ codes.T


def check_indices(indices: torch.Tensor, x: torch.Tensor, codebook: torch.Tensor, metric: str = "euclidean") -> None:
    """An index differs from the float64 argmin only where the float64 gap is within fp32's rounding of the sum."""
    truth = scores(x, codebook, metric)
    chosen = indices.reshape(-1).cpu()
    assert chosen.dtype == torch.int64
    assert ((chosen >= 0) & (chosen < codebook.shape[0])).all()
    least, _ = truth.min(1)
    gap = truth.gather(1, chosen[:, None])[:, 0] - least
    scale = least
    if metric != "euclidean":
        codes = codebook.double().cpu()
        largest = codes.norm(dim=-1).max() if metric == "dot" else 1.0
        scale = x.reshape(-1, x.shape[-1]).double().cpu().norm(dim=-1) * largest
    assert (gap <= 2 * (x.shape[-1] + 2) * 2.0**-24 * scale).all(), f"worst gap {gap.max()}"


def view(rows: torch.Tensor, layout: str) -> torch.Tensor:
    """The same [B, S, D] values with other strides."""
    if layout == "rows":
        return rows
    if layout == "channels":
        return rows.transpose(1, 2).contiguous().transpose(1, 2)
    batch, length, dimension = rows.shape
    wide = torch.full((batch, 2 * length, dimension + 3), float("nan"), dtype=rows.dtype, device=rows.device)
    part = wide[:, ::2, 2 : dimension + 2]
    part.copy_(rows)
    return part


def adversarial(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows [1, N, D], codebook [K, D]) in float32 that break careless searches."""
    g = torch.Generator().manual_seed(7)
    codes = torch.randn(300, 16, generator=g)
    rows = torch.randn(70, 16, generator=g)
    if name == "offset":
        codes, rows = 1000 + 0.01 * codes, 1000 + 0.01 * rows
    elif name == "tiny codes":
        codes = (2 * torch.rand(300, 16, generator=g) - 1) / 300
    elif name == "outlier code":
        codes[37] = 1e6
    elif name == "overflowing code":
        codes[37] = 1e30
    elif name == "outlier row":
        rows[5] = 1e6
    elif name == "duplicated codes":
        codes = codes[:20].repeat(15, 1)
    elif name == "one code everywhere":
        codes = codes[:1].repeat(300, 1)
    elif name == "midway":
        rows = (codes[:70].round() + codes[100:170].round()) / 2
        codes = codes.round()
    elif name == "rows are codes":
        rows = codes[torch.randint(0, 300, (70,), generator=g)]
    elif name == "almost equal codes":
        codes = codes[:1] + 1e-6 * codes
        rows = codes[0] + 1e-6 * rows
    return rows[None], codes


ADVERSARIAL = (
    "offset", "tiny codes", "outlier code", "overflowing code", "outlier row", "duplicated codes",
    "one code everywhere", "midway", "rows are codes", "almost equal codes",
)  # fmt: skip
