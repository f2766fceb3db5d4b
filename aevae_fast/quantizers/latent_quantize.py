"""`LatentQuantize`: each entry of a latent to the nearest of its own learned values. Names follow
vector-quantize-pytorch."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..functional import Impl
from ..functional._codebooks import Parts, count
from ..functional._levels import check_levels, places
from .implicit import ImplicitCodebook


class LatentQuantize(ImplicitCodebook):
    """Latent quantization: every entry of a latent is replaced by the nearest of a few scalar values, learned for that
    entry, for representations that disentangle; Hsu et al. 2023 (arXiv:2305.18378).

    The loss is `quantization_loss_weight`·mean (sg[z] - z_q)², which pulls the values, plus `commitment_loss_weight`·
    mean (z - sg[z_q])², which pulls z, over the entries that count. The gradient of quantized passes to z unchanged.
    vector-quantize-pytorch, whose values get no gradient, takes the loss after `project_out`, and reads indices and
    codes off the values as they were first: once the values have moved, ours differ from its.

    Args:
        levels: how many values each of the D entries of a code has, at least 2; or one number for `codebook_dim`
            entries.
        dim: size of the vectors that go in and come out; where it is not `num_codebooks`·D a linear map goes before and
            one after.
        commitment_loss_weight, quantization_loss_weight: of the two parts of the loss.
        num_codebooks: so many codes for each vector, each with an index of its own; they share the values.
        codebook_dim: D where `levels` is one number.
        keep_num_codebooks_dim: whether indices have an axis for the codebooks; None: where there are several.
        optimize_values: whether the values are parameters that require grad.
        channel_first: x is `[B, dim, ...]`; False: `[..., dim]`.
        impl: for symmetry with the other layers: plain PyTorch serves every device.

    Shapes:
        x: `[B, dim, ...]`, or `[..., dim]`; mask: bool, x's shape without the channel axis, True where a vector counts;
        lens: integers `[B]`, in place of a mask.
        Returns quantized (like x; 0 where masked), indices (int64, like mask, and `num_codebooks` where that axis is
        kept; -1 where masked or not finite; the first entry is the lowest digit) and loss (0-d float32; 0 in `eval()`).

    State: `values_per_latent.{d}`, `[L_d]` float32 whatever the module is cast to; `scheme`; `project_in`,
    `project_out` where the sizes differ. Checkpoints of vector-quantize-pytorch load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        levels: Sequence[int] | int,
        dim: int,
        commitment_loss_weight: float = 0.1,
        quantization_loss_weight: float = 0.1,
        num_codebooks: int = 1,
        codebook_dim: int = -1,
        keep_num_codebooks_dim: bool | None = None,
        optimize_values: bool = True,
        *,
        channel_first: bool = True,
        impl: Impl | None = None,
    ) -> None:
        if isinstance(levels, int):
            if codebook_dim < 1:
                raise ValueError(f"codebook_dim must be at least 1 where levels is one number; got {codebook_dim}")
            levels = [levels] * codebook_dim
        counts = check_levels(levels, "symmetric")
        if codebook_dim not in (-1, len(counts)):
            raise ValueError(f"codebook_dim must be the number of levels, {len(counts)}; got {codebook_dim}")
        for name, weight in (("commitment", commitment_loss_weight), ("quantization", quantization_loss_weight)):
            if not weight >= 0:
                raise ValueError(f"{name}_loss_weight must be at least 0; got {weight}")
        super().__init__(
            dim,
            len(counts),
            math.prod(counts),
            num_codebooks=num_codebooks,
            keep_num_codebooks_dim=keep_num_codebooks_dim,
            channel_first=channel_first,
            scheme=counts,
            impl=impl,
        )
        self.levels = counts
        self.commitment_loss_weight, self.quantization_loss_weight = commitment_loss_weight, quantization_loss_weight
        # Zero in the middle; an even number starts at -1/2 and ends one step below 1/2.
        values = [torch.linspace(-0.5, 0.5, n) if n % 2 else torch.arange(n) / n - 0.5 for n in counts]
        self.values_per_latent = nn.ParameterList(nn.Parameter(v, requires_grad=optimize_values) for v in values)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, lens: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, mask, layout = self._enter(x, mask, lens)
        parts = Parts(rows, layout.axis, self._codebooks)
        last, kept = parts.last(layout.blank(rows, mask)), parts.mask(mask)
        z = last.to(torch.promote_types(last.dtype, torch.float32))
        digits = self._nearest(z.detach())
        value = self._value_of(digits).to(z.dtype)
        lost = ~z.detach().isfinite().all(-1)
        code, index = value.detach().masked_fill(lost[..., None], torch.nan), self._joined(digits).masked_fill(lost, -1)
        if kept is not None:
            code, index = code.where(kept[..., None], 0.0), index.where(kept, -1)
        quantized = parts.restored((code + (z - z.detach())).to(rows.dtype))
        loss = self._loss(z, value, kept) if self.training else torch.zeros((), dtype=z.dtype, device=x.device)
        return self._leave(quantized, x, mask, layout), parts.indices(index), loss

    def _loss(self, z: Tensor, value: Tensor, kept: Tensor | None) -> Tensor:
        entries = count(kept, z[..., 0].numel()) * z.shape[-1]
        pull, commitment = (z.detach() - value).square(), (z - value.detach()).square()
        terms = self.quantization_loss_weight * pull + self.commitment_loss_weight * commitment
        return (terms if kept is None else terms.where(kept[..., None], 0.0)).sum() / entries

    @torch.no_grad()
    def _nearest(self, z: Tensor) -> Tensor:
        """z [..., D] → which of its values is nearest to each entry, the lowest of equals; one value after the other,
        so that nothing has N·D·L entries."""
        table = self._table(torch.inf).to(z.dtype)
        digits, least = torch.zeros_like(z, dtype=torch.int64), (z - table[:, 0]).abs()
        for level in range(1, table.shape[1]):
            distance = (z - table[:, level]).abs()
            nearer = distance < least
            least, digits = least.where(~nearer, distance), digits.masked_fill(nearer, level)
        return digits

    def _table(self, beyond: float) -> Tensor:
        """The values as [D, L], rows that are shorter filled up."""
        most = max(self.levels)
        return torch.stack([F.pad(values, (0, most - len(values)), value=beyond) for values in self.values_per_latent])

    def _value_of(self, digits: Tensor) -> Tensor:
        """digits [..., D] → the values that they stand for; differentiable."""
        table = self._table(0.0)
        start = torch.arange(len(table), device=digits.device) * table.shape[1]
        return F.embedding(digits + start, table.flatten()[:, None])[..., 0]

    def _joined(self, digits: Tensor) -> Tensor:
        return (digits * places(self.scheme[:-1])).sum(-1)

    def _codes(self, indices: Tensor) -> Tensor:
        counts = self.scheme[:-1]
        return self._value_of(indices[..., None] // places(counts) % counts).detach()

    def _indices(self, codes: Tensor) -> Tensor:
        return self._joined(self._nearest(codes.float()))

    def _described(self, scheme: list[int]) -> str:
        *levels, codebooks = scheme
        return f"levels {levels}" + (f", {codebooks} codebooks" if codebooks > 1 else "")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LatentQuantize":
        """The values move with the module but stay float32."""
        kept = {id(values) for values in self.values_per_latent}

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return tensor.to(moved.device) if moved.dtype != tensor.dtype and id(tensor) in kept else moved

        super()._apply(keep_dtype, recurse)
        return self

    def extra_repr(self) -> str:
        parts = [f"levels={self.levels}", f"dim={self.dim}"]
        return ", ".join(parts + ([f"num_codebooks={self.num_codebooks}"] if self.num_codebooks > 1 else []))
