"""`SimVQ`: the layer. Names, argument names and returns follow vector-quantize-pytorch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .. import functional
from ..functional import Impl
from ..functional._checks import check_device
from . import settings
from .decoding import look_up
from .layout import Layout
from .loading import LoadsWhole


class SimVQ(LoadsWhole):
    """Vector quantization whose codes are a learned linear map of frozen random ones, so that a gradient to any code
    moves all of them; Zhu et al. 2024 (arXiv:2411.02038).

    Args:
        dim: size of the vectors that go in and come out, and of the codes.
        codebook_size: number of codes, K.
        codebook_transform: the map, `[K, frozen_codebook_dim]` to `[K, dim]`; None: linear, without a bias.
        init_fn: makes the frozen codes of normal ones of expected length 1.
        channel_first: x is `[B, dim, ...]`, read and written in place; else `[..., dim]`.
        rotation_trick: turn and scale the gradient through the choice, as Fifty et al. 2024 (arXiv:2410.06424) do,
            instead of passing it unchanged.
        input_to_quantize_commit_loss_weight: weight of mean (x - sg[c])² beside that of mean (sg[x] - c)², which is 1.
        commitment_weight: of both.
        frozen_codebook_dim: size of the frozen codes; dim if not given.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Shapes:
        x: `[..., dim]`, or `[B, dim, ...]`; mask: bool, x's shape without the channel axis, True where a vector counts;
        lens: integers `[B]`, in place of a mask.
        Returns quantized (like x), indices (int64, like mask; -1 where masked or not finite), loss (0-d float32).

    State: `frozen_codebook [K, frozen_codebook_dim]`, which stays float32 when the module is cast, and
    `code_transform.*`. Checkpoints of vector-quantize-pytorch load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    frozen_codebook: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_transform: nn.Module | None = None,
        init_fn: Callable[[Tensor], Tensor] | None = None,
        channel_first: bool = False,
        rotation_trick: bool = True,
        input_to_quantize_commit_loss_weight: float = 0.25,
        commitment_weight: float = 1.0,
        frozen_codebook_dim: int | None = None,
        *,
        impl: Impl | None = None,
    ) -> None:
        super().__init__()
        frozen_dim = dim if frozen_codebook_dim is None else frozen_codebook_dim
        settings.check_sizes({"dim": dim, "codebook_size": codebook_size, "frozen_codebook_dim": frozen_dim})
        weights = {
            "commitment_weight": commitment_weight,
            "input_to_quantize_commit_loss_weight": input_to_quantize_commit_loss_weight,
        }
        settings.check_weights(weights, impl)
        self.dim, self.codebook_size, self.channel_first = dim, codebook_size, channel_first
        self.rotation_trick, self.commitment_weight, self.impl = rotation_trick, commitment_weight, impl
        self.input_to_quantize_commit_loss_weight = input_to_quantize_commit_loss_weight
        self._layout = Layout(dim, not channel_first)
        frozen = torch.randn(codebook_size, frozen_dim) * frozen_dim**-0.5
        self.register_buffer("frozen_codebook", frozen if init_fn is None else init_fn(frozen))
        linear = nn.Linear(frozen_dim, dim, bias=False) if codebook_transform is None else codebook_transform
        self.code_transform = linear

    @property
    def codebook(self) -> Tensor:
        """The codes, `[K, dim]` float32; gradient reaches the map."""
        frozen = self.frozen_codebook
        dtype = next((weight.dtype for weight in self.code_transform.parameters()), frozen.dtype)
        with torch.autocast(frozen.device.type, enabled=False):
            return self.code_transform(frozen.to(dtype)).to(frozen.dtype)

    @property
    def weights(self) -> tuple[float, float]:
        """Of mean (x - sg[c])² and of mean (sg[x] - c)²."""
        return self.commitment_weight * self.input_to_quantize_commit_loss_weight, self.commitment_weight

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, lens: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mask = self._layout.check(x, mask, lens)
        check_device("the codebook", self.frozen_codebook, x)
        return functional.vector_quantize(
            x,
            self.codebook,
            estimator="rotation" if self.rotation_trick else "straight_through",
            commitment_weight=self.weights[0],
            codebook_weight=self.weights[1],
            mask=mask,
            dim=self._layout.axis,
            impl=self.impl,
        )

    def indices_to_codes(self, indices: Tensor) -> Tensor:
        """indices [...] int64 → what forward returned for them, float32, in its layout; zeros where an index is -1."""
        return self._layout.from_last(look_up(self.codebook, indices))

    get_codes_from_indices = indices_to_codes

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SimVQ":
        """Move with the module; what is frozen stays float32."""
        frozen = self.frozen_codebook
        super()._apply(fn, recurse)
        if self.frozen_codebook.dtype != frozen.dtype:
            self.frozen_codebook = frozen.to(self.frozen_codebook.device)
        return self

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"codebook_size={self.codebook_size}", f"channel_first={self.channel_first}"]
        return ", ".join(
            [*parts, f"rotation_trick={self.rotation_trick}", f"commitment_weight={self.commitment_weight}"]
        )
