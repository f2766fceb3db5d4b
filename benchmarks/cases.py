"""What is measured, on a CPU, on a GPU and in a smoke test: searches, training steps, Gaussian latents, mixtures,
scalar quantizers, memory; and searches along N, D and K, for the plots."""

from typing import Any

from .case_types import DTYPES, AnyCase, Case, LatentCase, MixtureCase, OpenCase, ResidualCase, ScalarCase, parse

__all__ = [
    "ALL",
    "DTYPES",
    "AnyCase",
    "Case",
    "LatentCase",
    "MixtureCase",
    "OpenCase",
    "ResidualCase",
    "ScalarCase",
    "parse",
]


def along(base: Case, rows: range, dims: range, codes: range) -> list[Case]:
    """Cases that differ from `base` in N, in D or in K, by powers of two with these exponents; each once."""
    varied = {"rows": rows, "dim": dims, "codes": codes}
    changes: list[dict[str, Any]] = [{size: 1 << n} for size, powers in varied.items() for n in powers]
    return list(dict.fromkeys(base._replace(**change) for change in changes))


_GPU = [
    (65536, 64, 512),
    (65536, 64, 1024),
    (65536, 256, 16384),
    (65536, 8, 16384),
    (150_000, 128, 1024),
    (150_000, 8, 1024),
    (1024, 256, 16384),
]
_SMOKE = [Case(300, 8, 50)]

SEARCH = {
    "cpu": [Case(16384, 64, 512), Case(16384, 64, 1024), Case(4096, 256, 16384), Case(16384, 8, 16384)],
    "cuda": [Case(*sizes, dtype) for sizes in _GPU for dtype in DTYPES],
    "smoke": _SMOKE,
}
OPEN = {
    "cpu": [OpenCase(4096, 8, 1024), OpenCase(4096, 64, 1024), OpenCase(1024, 256, 4096)],
    "cuda": [OpenCase(65536, 8, 16384), OpenCase(65536, 64, 1024), OpenCase(65536, 256, 16384)],
    "smoke": [OpenCase(300, 8, 50)],
}
STEP = {
    "cpu": [Case(16384, 64, 1024)],
    "cuda": [Case(*sizes, dtype) for sizes in ((16384, 64, 1024), *_GPU[1:3]) for dtype in DTYPES],
    "smoke": _SMOKE,
}
SWEEP = {
    "cpu": along(Case(1 << 14, 64, 1024), range(10, 17), range(3, 9), range(8, 15)),
    "cuda": along(Case(1 << 16, 64, 1024), range(10, 21), range(3, 10), range(8, 15)),
    "smoke": along(_SMOKE[0], range(6, 9), range(3, 6), range(4, 7)),
}
SEARCH_MEMORY = {"cpu": [Case(65536, 256, 16384)], "cuda": [Case(65536, 256, 16384)], "smoke": _SMOKE}
STEP_MEMORY = {"cpu": [Case(16384, 64, 1024)], "cuda": [Case(65536, 64, 1024)], "smoke": _SMOKE}
LATENT = {
    "cpu": [LatentCase(65536, 256, dtype) for dtype in DTYPES],
    "cuda": [LatentCase(rows, 256, dtype) for rows in (65536, 1 << 20) for dtype in DTYPES],
    "smoke": [LatentCase(300, 8)],
}
LATENT_MEMORY = {"cpu": [LatentCase(65536, 256)], "cuda": [LatentCase(1 << 20, 256)], "smoke": LATENT["smoke"]}
MIXTURE = {
    "cpu": [MixtureCase(1024, 32, 1024)],
    "cuda": [MixtureCase(1024, 32, 1024), MixtureCase(4096, 64, 4096)],
    "smoke": [MixtureCase(30, 8, 20)],
}
MIXTURE_MEMORY = {
    "cpu": [MixtureCase(1024, 64, 1024), MixtureCase(4096, 64, 4096)],
    "cuda": [MixtureCase(4096, 64, 4096)],
    "smoke": MIXTURE["smoke"],
}
FSQ = {
    "cpu": [ScalarCase(65536, 6)],
    "cuda": [ScalarCase(1 << 20, 6, dtype) for dtype in DTYPES],
    "smoke": [ScalarCase(300, 6)],
}
LFQ = {
    "cpu": [ScalarCase(256, 18), ScalarCase(16384, 18)],
    "cuda": [ScalarCase(4096, 18), ScalarCase(1 << 18, 18), ScalarCase(1 << 18, 18, "bf16")],
    "smoke": [ScalarCase(30, 6)],
}
FSQ_MEMORY = {"cpu": FSQ["cpu"], "cuda": FSQ["cuda"][:1], "smoke": FSQ["smoke"]}
LFQ_MEMORY = {"cpu": LFQ["cpu"], "cuda": LFQ["cuda"][:2], "smoke": LFQ["smoke"]}
COSINE = {
    "cpu": [Case(16384, 8, 16384)],
    "cuda": [Case(65536, 8, 16384, dtype) for dtype in DTYPES],
    "smoke": _SMOKE,
}
RESIDUAL = {
    "cpu": [ResidualCase(15_000, 128, 1024, 8), ResidualCase(15_000, 8, 1024, 9)],
    "cuda": [ResidualCase(150_000, dim, 1024, q, dtype) for dim, q in ((128, 8), (8, 9)) for dtype in DTYPES],
    "smoke": [ResidualCase(300, 8, 50, 3)],
}
ALL: tuple[dict[str, list[Any]], ...] = (
    SEARCH,
    OPEN,
    STEP,
    LATENT,
    MIXTURE,
    FSQ,
    LFQ,
    COSINE,
    SWEEP,
    RESIDUAL,  # a training step
    RESIDUAL,  # a forward
    SEARCH_MEMORY,
    STEP_MEMORY,
    LATENT_MEMORY,
    MIXTURE_MEMORY,
    FSQ_MEMORY,
    LFQ_MEMORY,
    RESIDUAL,  # memory
)
