"""`LFQ`: lookup-free quantization as a layer. Names, argument names and returns follow vector-quantize-pytorch."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functional
from ..functional import Impl
from ..functional._codebooks import Parts
from ..functional.lookup_free_quantize import check_group_size
from .implicit import ImplicitCodebook
from .layout import Layout


class LFQOutput(NamedTuple):
    """What `LFQ` returns."""

    quantized: Tensor
    indices: Tensor
    entropy_aux_loss: Tensor


class LFQLosses(NamedTuple):
    """The parts of `LFQOutput.entropy_aux_loss`, without their weights."""

    per_sample_entropy: Tensor
    batch_entropy: Tensor
    commitment: Tensor


class LFQ(ImplicitCodebook):
    """Lookup-free quantization: a code is the signs of its entries, and the bits are its index; Yu et al. 2023
    (arXiv:2310.05737).

    The auxiliary loss, in training, is `entropy_loss_weight`·(E[H(p)] - γ·H(E[p])) + `commitment_loss_weight`·mean
    (x - sg[q])²: sure of each code, and all codes in use. p(c | x) ∝ exp(2·inv_temperature·xᵀc) over the 2^b codes. The
    entropies are those of `functional.lookup_free_quantize`: exact given x; over the batch of groups of bits, exact
    where one group has all. Nothing takes memory that grows with 2^b times the batch, so that there is no option to
    sample a fraction of it. In vector-quantize-pytorch the batch's entropy is that of a sample where a mask is given,
    and codes less probable than 1e-5 count short: at 18 bits all.

    Args:
        dim: size of the vectors that go in and come out; None: b times `num_codebooks`. Where it differs, a linear map
            goes before and one after.
        codebook_size: number of codes, 2^b; None: 2^dim.
        entropy_loss_weight, commitment_loss_weight: of the two parts of the loss.
        diversity_gamma: γ.
        num_codebooks: so many codes for each vector, each with an index of its own.
        keep_num_codebooks_dim: whether indices have an axis for the codebooks; None: where there are several.
        codebook_scale: magnitude of a code's entries; with `spherical` of a code.
        has_projections: False where dim must be that of the codes; None: where it differs.
        projection_has_bias: of the two linear maps.
        soft_clamp_input_value: bound x by c·tanh(x/c) first; at least codebook_scale.
        channel_first: x is `[B, dim, ...]`, read and written in place. None: where it has at least 4 axes.
        experimental_softplus_entropy_loss: softplus(entropy loss + `entropy_loss_offset`) in its place.
        spherical: normalise vectors and codes to length `codebook_scale`: binary spherical quantization, see `BSQ`.
        group_size: bits of a group for the batch's entropy, at most 20. None: all where b is at most 12, else groups of
            at most 9.
        sync_codebook: take E[p] over all ranks; None: wherever `torch.distributed` is initialised.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Shapes:
        x: `[..., dim]`, or `[B, dim, ...]`; mask: bool, x's shape without the channel axis, True where a vector counts;
        lens: integers `[B]`, in place of a mask; inv_temperature: of the soft assignment.
        Returns quantized (like x; 0 where masked), indices (int64, like mask, and `num_codebooks` where that axis is
        kept; -1 where masked or not finite; the first bit is the highest) and entropy_aux_loss, 0-d float32, 0 in
        `eval()`; with return_loss_breakdown also `LFQLosses`, in nats.

    State: `mask`, the bits' places; `scheme`, whole numbers that say what this is; `project_in`, `project_out` where
    the sizes differ. Checkpoints of vector-quantize-pytorch load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    mask: Tensor

    def __init__(
        self,
        *,
        dim: int | None = None,
        codebook_size: int | None = None,
        entropy_loss_weight: float = 0.1,
        commitment_loss_weight: float = 0.0,
        diversity_gamma: float = 1.0,
        num_codebooks: int = 1,
        keep_num_codebooks_dim: bool | None = None,
        codebook_scale: float = 1.0,
        has_projections: bool | None = None,
        projection_has_bias: bool = True,
        soft_clamp_input_value: float | None = None,
        channel_first: bool | None = None,
        experimental_softplus_entropy_loss: bool = False,
        entropy_loss_offset: float = 5.0,
        spherical: bool = False,
        group_size: int | None = None,
        sync_codebook: bool | None = None,
        impl: Impl | None = None,
    ) -> None:
        bits = _bits(dim, codebook_size)
        check_group_size(group_size, bits)
        if not codebook_scale > 0:
            raise ValueError(f"codebook_scale must be above 0; got {codebook_scale}")
        if soft_clamp_input_value is not None and not soft_clamp_input_value >= codebook_scale:
            raise ValueError(
                f"soft_clamp_input_value must be at least codebook_scale={codebook_scale}; got {soft_clamp_input_value}"
            )
        for name, weight in (("entropy", entropy_loss_weight), ("commitment", commitment_loss_weight)):
            if not weight >= 0:
                raise ValueError(f"{name}_loss_weight must be at least 0; got {weight}")
        super().__init__(
            dim,
            bits,
            2**bits,
            num_codebooks=num_codebooks,
            keep_num_codebooks_dim=keep_num_codebooks_dim,
            channel_first=channel_first,
            has_projections=has_projections,
            projection_has_bias=projection_has_bias,
            scheme=[int(spherical), bits],
            impl=impl,
        )
        self.entropy_loss_weight, self.commitment_loss_weight = entropy_loss_weight, commitment_loss_weight
        self.diversity_gamma, self.codebook_scale, self.spherical = diversity_gamma, codebook_scale, spherical
        self.soft_clamp_input_value, self.group_size = soft_clamp_input_value, group_size
        self.sync_codebook = sync_codebook
        self.softplus_offset = entropy_loss_offset if experimental_softplus_entropy_loss else None
        self.register_buffer("mask", 2 ** torch.arange(bits - 1, -1, -1))

    @property
    def code_magnitude(self) -> float:
        """Magnitude of a code's entries."""
        return self.codebook_scale / self.codebook_dim**0.5 if self.spherical else self.codebook_scale

    def forward(
        self,
        x: Tensor,
        inv_temperature: float = 100.0,
        return_loss_breakdown: bool = False,
        mask: Tensor | None = None,
        *,
        lens: Tensor | None = None,
    ) -> Any:
        rows, mask, layout = self._enter(x, mask, lens)
        if self.spherical or self.soft_clamp_input_value is not None:
            rows = self._bounded(layout.blank(rows, mask), layout)  # whose gradient masked places must not reach
        found = functional.lookup_free_quantize(
            rows,
            scale=self.code_magnitude,
            inv_temperature=inv_temperature,
            entropy=self.training and (self.entropy_loss_weight > 0 or return_loss_breakdown),
            group_size=self.group_size,
            codebooks=self._codebooks,
            sync=self.sync_codebook is not False,
            mask=mask,
            dim=layout.axis,
            impl=self.impl,
        )
        losses = LFQLosses(found.per_sample_entropy, found.batch_entropy, found.commitment)
        if not self.training:
            losses = LFQLosses(*(torch.zeros_like(found.commitment) for _ in losses))
        output = LFQOutput(self._leave(found.quantized, x, mask, layout), found.indices, self._joined(losses))
        return (output, losses) if return_loss_breakdown else output

    def _bounded(self, rows: Tensor, layout: Layout) -> Tensor:
        """Softly clamped, or on the sphere, where that is asked for."""
        if (limit := self.soft_clamp_input_value) is not None:
            rows = (rows / limit).tanh() * limit
        if not self.spherical:
            return rows
        parts = Parts(rows, layout.axis, self.num_codebooks)
        unit = F.normalize(parts.last(rows).float() if rows.dtype != torch.float64 else parts.last(rows), dim=-1)
        return parts.restored(unit * self.codebook_scale)

    def _joined(self, losses: LFQLosses) -> Tensor:
        """The loss of the parts, 0 in `eval()`."""
        if not self.training:
            return losses.commitment
        entropy = losses.per_sample_entropy - self.diversity_gamma * losses.batch_entropy
        if self.softplus_offset is not None:
            entropy = F.softplus(entropy + self.softplus_offset)
        return entropy * self.entropy_loss_weight + losses.commitment * self.commitment_loss_weight

    def _codes(self, indices: Tensor) -> Tensor:
        above = (indices[..., None] & self.mask) != 0
        return torch.where(above, self.code_magnitude, -self.code_magnitude).float()

    def _indices(self, codes: Tensor) -> Tensor:
        return ((codes > 0) * self.mask).sum(-1)

    def _described(self, scheme: list[int]) -> str:
        if len(scheme) != 3:
            return super()._described(scheme)
        spherical, bits, codebooks = scheme
        sphere = "spherical " if spherical else ""
        return f"{sphere}codes of {bits} bits" + (f", {codebooks} codebooks" if codebooks > 1 else "")

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"codebook_size={self.codebook_size}"]
        parts += [f"num_codebooks={self.num_codebooks}"] if self.num_codebooks > 1 else []
        parts += ["spherical=True"] if self.spherical else []
        parts += [f"codebook_scale={self.codebook_scale}"] if self.codebook_scale != 1 else []
        parts += [f"entropy_loss_weight={self.entropy_loss_weight}", f"diversity_gamma={self.diversity_gamma}"]
        return ", ".join([*parts, f"commitment_loss_weight={self.commitment_loss_weight}"])


def _bits(dim: int | None, codebook_size: int | None) -> int:
    if codebook_size is None:
        if not isinstance(dim, int):
            raise ValueError(f"dim must be a number where codebook_size is not given; got {dim!r}")
        bits = dim
    elif not isinstance(codebook_size, int) or codebook_size < 2 or codebook_size & (codebook_size - 1):
        raise ValueError(f"codebook_size must be a power of 2, at least 2; got {codebook_size!r}")
    else:
        bits = codebook_size.bit_length() - 1
    if not 1 <= bits <= 62:
        raise ValueError(f"codes must have 1 to 62 bits; got dim={dim!r} and codebook_size={codebook_size!r}")
    return bits
