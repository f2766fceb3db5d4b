"""`VectorQuantize`: the layer. Names, argument names and returns follow vector-quantize-pytorch."""

import weakref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from .. import functional
from ..functional import Impl
from ..functional._checks import check_device, check_input, check_rows
from ..functional._dispatch import check_impl
from .codebook import Codebook
from .loading import LoadsWhole
from .updates import move


class VectorQuantize(LoadsWhole):
    """Vector quantization with an EMA or a gradient codebook; van den Oord et al. 2017 (arXiv:1711.00937).

    The codebook moves once per `optimizer.step()`: statistics of all backward passes since the last step are joined,
    so gradient accumulation and activation checkpointing change nothing (two passes through one graph count twice).
    Where x needs no gradient nothing comes back, and an EMA codebook moves during the forward; to have it wait for the
    step, pass `x.requires_grad_()`. It does not move in `eval()`, under `torch.no_grad()` or when frozen. Codebook and
    statistics stay float32 under `.half()`, `.bfloat16()` and autocast.

    Args:
        dim: size of the vectors that go in and come out.
        codebook_size: number of codes, K.
        codebook_dim: size of the codes where it differs from dim; a linear map goes before and one after.
        decay: of the EMA, per optimizer step.
        eps: Laplace smoothing of the EMA counts.
        kmeans_init: take the first codes from the first training batch, by k-means++ and `kmeans_iters` iterations.
        use_cosine_sim: normalise vectors and codes; the nearest code is the one at the smallest angle.
        threshold_ema_dead_code: a code whose EMA count is below this is replaced by a vector of the batch. None:
            half of uniform usage. 0: never.
        channel_last: x is `[..., dim]`; False: `[B, dim, ...]`, read and written in place.
        accept_image_fmap: x is `[B, dim, H, W]`; the same as channel_last=False.
        rotation_trick: turn and scale the gradient through the choice, as Fifty et al. 2024 (arXiv:2410.06424) do,
            instead of passing it unchanged.
        commitment_weight: weight of mean (x - sg[e])².
        codebook_weight: weight of mean (sg[x] - e)², for a learnable codebook.
        learnable_codebook: the codebook is a parameter and moves by its gradient instead of by EMA.
        ema_update: the other way to say it: False for a learnable codebook. Neither: a fixed codebook.
        freeze_codebook: the codebook does not move; also an attribute.
        sync_codebook: join the statistics of all ranks; None: wherever `torch.distributed` is initialised.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Shapes:
        x: `[..., dim]`, or `[B, dim, ...]`; mask: bool, x's shape without the channel axis, True where a vector counts.
        Returns quantized (like x), indices (int64, like mask; -1 where masked or not finite), loss (0-d float32: the
        weighted sum of the losses, means over elements).

    State: `_codebook.{embed [1, K, D], embed_avg [1, K, D], cluster_size [1, K], initted (), steps ()}` and
    `project_in`, `project_out` where the sizes differ. Checkpoints of vector-quantize-pytorch load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int | None = None,
        *,
        decay: float = 0.99,
        eps: float = 1e-5,
        kmeans_init: bool = False,
        kmeans_iters: int = 10,
        use_cosine_sim: bool = False,
        threshold_ema_dead_code: float | None = None,
        channel_last: bool = True,
        accept_image_fmap: bool = False,
        rotation_trick: bool = False,
        commitment_weight: float = 1.0,
        codebook_weight: float = 1.0,
        learnable_codebook: bool = False,
        ema_update: bool | None = None,
        freeze_codebook: bool = False,
        sync_codebook: bool | None = None,
        impl: Impl | None = None,
    ) -> None:
        super().__init__()
        codebook_dim = dim if codebook_dim is None else codebook_dim
        sizes = {"dim": dim, "codebook_size": codebook_size, "codebook_dim": codebook_dim, "kmeans_iters": kmeans_iters}
        for name, size in sizes.items():
            least = 0 if name == "kmeans_iters" else 1
            if not isinstance(size, int):
                raise TypeError(f"{name} must be an int; got {size!r}")
            if size < least:
                raise ValueError(f"{name} must be at least {least}; got {size}")
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must lie in [0, 1]; got {decay}")
        for name, value in (("commitment_weight", commitment_weight), ("codebook_weight", codebook_weight)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0; got {value}")
        if not eps > 0:
            raise ValueError(f"eps must be above 0; got {eps}")
        check_impl(impl)
        if threshold_ema_dead_code is not None and not threshold_ema_dead_code >= 0:
            raise ValueError(f"threshold_ema_dead_code must be None or at least 0; got {threshold_ema_dead_code}")
        if learnable_codebook and ema_update:
            raise ValueError("learnable_codebook and ema_update are both True; a codebook moves by gradient or by EMA")
        self.dim, self.codebook_size, self.codebook_dim = dim, codebook_size, codebook_dim
        self.use_cosine_sim, self.impl = use_cosine_sim, impl
        self.channel_last = channel_last and not accept_image_fmap
        self.rotation_trick = rotation_trick
        self.commitment_weight, self.codebook_weight = commitment_weight, codebook_weight
        self.project_in = nn.Linear(dim, codebook_dim) if dim != codebook_dim else nn.Identity()
        self.project_out = nn.Linear(codebook_dim, dim) if dim != codebook_dim else nn.Identity()
        self._codebook = Codebook(
            codebook_dim,
            codebook_size,
            metric="cosine" if use_cosine_sim else "euclidean",
            decay=decay,
            eps=eps,
            learnable=learnable_codebook,
            kmeans_init=kmeans_init,
            kmeans_iters=kmeans_iters,
            dead_code_threshold=threshold_ema_dead_code,
            sync=sync_codebook,
        )
        fixed = ema_update is False and not learnable_codebook
        self.freeze_codebook = freeze_codebook or fixed

    @property
    def freeze_codebook(self) -> bool:
        """Whether the codebook stays as it is in training; gradients reach the encoder all the same."""
        return self._codebook.frozen

    @freeze_codebook.setter
    def freeze_codebook(self, frozen: bool) -> None:
        self._codebook.frozen = frozen

    @property
    def codebook(self) -> Tensor:
        """The codes, `[K, codebook_dim]` float32."""
        return self._codebook.codes

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        dim = -1 if self.channel_last else 1
        self._check(x, mask, dim)
        if mask is not None and (self.use_cosine_sim or self.dim != self.codebook_dim):
            x = x.where(mask.unsqueeze(dim), 0.0)  # what stands in masked places must not reach a gradient
        rows = self._project(self.project_in, x)
        if self.use_cosine_sim:
            rows = F.normalize(rows.float(), dim=dim)
        book, training = self._codebook, self.training and not self._codebook.frozen
        moving = training and torch.is_grad_enabled()
        if moving or (training and book.needs_init):  # reentrant checkpointing runs its first forward without grad
            book.observe(rows, mask, dim)
        by_gradient = moving and (rows.requires_grad or book.learnable)
        codes = book.codes.detach() if book.frozen else book.codes
        quantized, indices, loss = functional.vector_quantize(
            rows,
            # A copy, since the codebook may move before this forward's backward has come.
            codes.clone() if by_gradient and not book.learnable else codes,
            metric=book.metric,
            estimator="rotation" if self.rotation_trick else "straight_through",
            commitment_weight=self.commitment_weight,
            codebook_weight=self.codebook_weight if book.learnable else 0.0,
            mask=mask,
            dim=dim,
            statistics=book.sinks if by_gradient else None,
            impl=self.impl,
        )
        if moving and not by_gradient:
            counts, sums = functional.codebook_statistics(rows, indices, self.codebook_size, dim=dim, impl=self.impl)
            move([(book, counts.float(), sums.float())])
        quantized = self._project(self.project_out, quantized.to(x.dtype)).to(x.dtype)
        if mask is not None and self.dim != self.codebook_dim:
            quantized = quantized.where(mask.unsqueeze(dim), 0.0)  # the map's bias would show in masked places
        return quantized, indices, loss

    def step_with(self, optimizer: Optimizer) -> None:
        """Let the codebook move only when this optimizer steps. Without it any optimizer's step moves a codebook whose
        statistics wait, which is one too many where, say, a discriminator steps while gradients still accumulate."""
        self._codebook.optimizer = weakref.ref(optimizer)

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """indices [...] int64 → what forward returned for them: `[..., dim]`, or `[B, dim, ...]` for a channel-first
        layer; zeros where an index is -1."""
        if indices.dtype != torch.int64:
            raise TypeError(f"indices must be torch.int64; got {indices.dtype}")
        found = (indices >= 0)[..., None]
        codes = self.codebook[indices.clamp(min=0)].where(found, 0.0)
        weight = getattr(self.project_out, "weight", codes)
        codes = self.project_out(codes.to(weight.dtype)).where(found, 0.0)
        return codes if self.channel_last else codes.movedim(-1, 1)

    @property
    def perplexity(self) -> Tensor:
        """exp of the entropy of the codes' running usage, 0-d float32 in [1, K]; stays on the device."""
        share = self._codebook.cluster_size[0] / self._codebook.cluster_size.sum()
        return torch.special.entr(share).sum().exp()

    @property
    def usage(self) -> Tensor:
        """Share of the codes whose running usage is at least 3% of uniform; 0-d float32 in [0, 1]."""
        count = self._codebook.cluster_size[0]
        return (count >= 0.03 * count.mean()).float().mean()

    def _check(self, x: Tensor, mask: Tensor | None, dim: int) -> None:
        layout = f"[..., {self.dim}]" if self.channel_last else f"[B, {self.dim}, ...]"
        check_input(x, -1)
        if x.ndim < (1 if self.channel_last else 2) or x.shape[dim] != self.dim:
            raise ValueError(f"x must have shape {layout}; got {tuple(x.shape)}")
        check_device("the codebook", self._codebook.embed, x)
        if mask is not None:
            check_rows("mask", mask, torch.bool, x, dim)

    def _project(self, projection: nn.Module, x: Tensor) -> Tensor:
        """Apply a linear map along the channel axis, a channel-first map staying channel-first."""
        if self.channel_last or x.ndim == 2 or not isinstance(projection, nn.Linear):
            return projection(x)
        return F.conv1d(x.flatten(2), projection.weight[:, :, None], projection.bias).unflatten(2, x.shape[2:])

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"codebook_size={self.codebook_size}"]
        parts += [f"codebook_dim={self.codebook_dim}"] if self.codebook_dim != self.dim else []
        parts += [f"metric={self._codebook.metric!r}", f"channel_last={self.channel_last}"]
        parts += ["learnable_codebook=True"] if self._codebook.learnable else [f"decay={self._codebook.decay}"]
        parts += ["freeze_codebook=True"] if self.freeze_codebook else []
        parts += ["rotation_trick=True"] if self.rotation_trick else []
        return ", ".join([*parts, f"commitment_weight={self.commitment_weight}"])
