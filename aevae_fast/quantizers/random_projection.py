"""`RandomProjectionQuantizer`: the layer. Names, argument names and returns follow vector-quantize-pytorch."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import settings
from .layout import Layout
from .loading import LoadsWhole
from .vector_quantize import VectorQuantize


class RandomProjectionQuantizer(LoadsWhole):
    """Labels for self-supervised training: the nearest of random codes, by the cosine, to a random projection of each
    vector; BEST-RQ, Chiu et al. 2022 (arXiv:2202.01855). Nothing in it is trained.

    Args:
        dim: size of the vectors that go in.
        codebook_size: number of codes, K.
        codebook_dim: size of the projected vectors and of the codes.
        num_codebooks: H labels for each vector, each with a projection and a codebook of its own.
        norm: first bring each vector to mean 0 and variance 1.
        options: of the quantizer, as `VectorQuantize` takes them.

    State: `rand_projs [H, dim, codebook_dim]`, `vq._codebook.*`; float32 when the module is cast.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    rand_projs: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int,
        num_codebooks: int = 1,
        norm: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        sizes = {"dim": dim, "codebook_dim": codebook_dim, "num_codebooks": num_codebooks}
        settings.check_sizes(sizes)
        self.dim, self.codebook_size, self.num_codebooks = dim, codebook_size, num_codebooks
        self.norm = nn.LayerNorm(dim, elementwise_affine=False) if norm else nn.Identity()
        projections = torch.empty(num_codebooks, dim, codebook_dim)
        for projection in projections:
            nn.init.xavier_normal_(projection)
        self.register_buffer("rand_projs", projections)
        own: dict[str, Any] = {"heads": num_codebooks, "separate_codebook_per_head": True, "use_cosine_sim": True}
        self.vq = VectorQuantize(num_codebooks * codebook_dim, codebook_size, codebook_dim, **own, **options)
        with torch.no_grad():  # even over the sphere
            self.vq._codebook.embed.copy_(F.normalize(torch.randn_like(self.vq._codebook.embed), dim=-1))
        self.vq.eval()

    def train(self, mode: bool = True) -> "RandomProjectionQuantizer":
        """The quantizer stays in `eval()`: its codes do not move."""
        super().train(mode)
        self.vq.eval()
        return self

    def forward(
        self,
        x: Tensor,
        indices: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        lens: Tensor | None = None,
    ) -> Tensor:
        """x `[..., dim]` → labels, int64, `[...]`, or `[..., H]` of several codebooks; -1 where masked or not finite.

        Args:
            indices: labels, as returned: then the mean of -log softmax(cosine) of these, 0-d, in nats.
            mask: bool `[...]`, True where a vector counts. lens: integers `[B]`, in its place.
        """
        layout = Layout(self.dim)
        mask = layout.check(x, mask, lens)
        with torch.autocast(x.device.type, enabled=False):
            rows = self.norm(layout.blank(x, mask).to(torch.promote_types(x.dtype, torch.float32)))
            rows = rows @ self.rand_projs.to(rows.dtype).transpose(0, 1).flatten(1)
        if indices is not None:
            return self.vq(rows, mask=mask, indices=indices)[1]
        with torch.no_grad():
            return self.vq(rows, mask=mask)[1]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RandomProjectionQuantizer":
        """Move with the module; the projections stay float32."""
        projections = self.rand_projs
        super()._apply(fn, recurse)
        if self.rand_projs.dtype != projections.dtype:
            self.rand_projs = projections.to(self.rand_projs.device)
        return self

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_codebooks={self.num_codebooks}"
