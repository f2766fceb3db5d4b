"""`VectorQuantize`: the layer. Names, argument names and returns follow vector-quantize-pytorch."""

from typing import Any

from torch import nn

from ..functional import Impl
from . import settings
from .affine import AffineCodebook
from .codebook import Codebook
from .heads import Heads
from .layout import Layout
from .quantizing import Quantizing
from .regularizers import Regularizers


class VectorQuantize(Quantizing):
    """Vector quantization with an EMA or a gradient codebook; van den Oord et al. 2017 (arXiv:1711.00937).

    The codebook moves once per `optimizer.step()`: statistics of all backward passes since the last step are joined,
    so gradient accumulation and activation checkpointing change nothing (two passes through one graph count twice).
    Where x needs no gradient nothing comes back, and an EMA codebook moves during the forward; to have it wait for the
    step, pass `x.requires_grad_()`. It does not move in `eval()`, under `torch.no_grad()` or when frozen: then nothing
    is drawn at random and no regulariser counts, so that eval equals frozen training. Codebook and statistics stay
    float32 under `.half()`, `.bfloat16()` and autocast.

    Args:
        dim: size of the vectors that go in and come out.
        codebook_size: number of codes, K.
        codebook_dim: size of the codes, D; dim if not given. Where heads·D differs from dim a linear map goes before
            and one after.
        heads: codes for each vector, each for a part of it.
        separate_codebook_per_head: each head has its own codebook; else they share one.
        decay: of the EMA, per optimizer step.
        eps: Laplace smoothing of the EMA counts.
        kmeans_init: take the first codes from the first training batch, by k-means++ and `kmeans_iters` iterations.
        use_cosine_sim: normalise vectors and codes; the nearest code is the one at the smallest angle.
        threshold_ema_dead_code: a code whose EMA count is below this is replaced by a vector of the batch. None:
            half of uniform usage. 0: never.
        channel_last: x is `[..., dim]`; False: `[B, dim, ...]`, read and written in place.
        accept_image_fmap, accept_3d_fmap: x is `[B, dim, H, W]`, `[B, dim, D, H, W]`; the same as channel_last=False.
        estimator: of the gradient through the choice. "straight_through": passes it unchanged. "rotation": turns and
            scales it, Fifty et al. 2024 (arXiv:2410.06424). "diveq": x moves towards its code by its distance in a
            direction with noise, Vali et al. 2025; it has no loss of its own, and in training the value is only near
            the code. "ibq": a softmax over all codes, which all take the gradient, Shi et al. 2024 (arXiv:2412.02692).
            "gumbel": the same to x alone, straight-through Gumbel, Jang et al. 2017 (arXiv:1611.01144), with noise in
            the choice (stochastic_sample_codes), none in the softmax. The value is the code itself for all but "diveq".
        rotation_trick, straight_through, directional_reparam: other names of "rotation", "gumbel" and "diveq".
        directional_reparam_variance: σ² of the noise of "diveq".
        stochastic_sample_codes: in training draw each code with the odds of softmax(similarity/sample_codebook_temp);
            similarity is -‖x - c‖, or the cosine. The softmax of "ibq" and "gumbel" is the same.
        commitment_weight: weight of mean (x - sg[e])².
        codebook_weight: weight of mean (sg[x] - e)², for a learnable codebook.
        orthogonal_reg_weight: weight of Σ cos²(c, c')/K² - 1/K, in training; of orthogonal_reg_max_codes codes drawn at
            random, of those that the batch uses with orthogonal_reg_active_codes_only.
        codebook_diversity_loss_weight: weight of the negative entropy of how the batch uses the codes, in training, by
            softmax(similarity·codebook_diversity_temperature).
        affine_param: codes follow the running mean and variance of the batches, Huh et al. 2023 (arXiv:2305.08842); the
            two decays are those of the batches' moments and of the codebook's own.
        learnable_codebook: the codebook is a parameter and moves by its gradient instead of by EMA. None: where
            "diveq", "ibq" or orthogonal_reg_weight need it.
        ema_update: the other way to say it: False for a learnable codebook. Neither: a fixed codebook.
        freeze_codebook: the codebook does not move; also an attribute.
        sync_codebook: join the statistics of all ranks, and their batches in the diversity loss; None: wherever
            `torch.distributed` is initialised.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    State: `_codebook.{embed [H, K, D], embed_avg [H, K, D], cluster_size [H, K], initted (), steps (), scheme ()}`, H
    the number of codebooks, scheme the number of the metric; `project_in`, `project_out` where the sizes differ.
    Checkpoints of vector-quantize-pytorch, which lack steps and scheme, load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int | None = None,
        *,
        heads: int = 1,
        separate_codebook_per_head: bool = False,
        decay: float = 0.99,
        eps: float = 1e-5,
        kmeans_init: bool = False,
        kmeans_iters: int = 10,
        use_cosine_sim: bool = False,
        threshold_ema_dead_code: float | None = None,
        channel_last: bool = True,
        accept_image_fmap: bool = False,
        accept_3d_fmap: bool = False,
        estimator: str | None = None,
        rotation_trick: bool = False,
        straight_through: bool = False,
        directional_reparam: bool = False,
        directional_reparam_variance: float = 5e-3,
        stochastic_sample_codes: bool = False,
        sample_codebook_temp: float = 1.0,
        commitment_weight: float = 1.0,
        codebook_weight: float = 1.0,
        orthogonal_reg_weight: float = 0.0,
        orthogonal_reg_active_codes_only: bool = False,
        orthogonal_reg_max_codes: int | None = None,
        codebook_diversity_loss_weight: float = 0.0,
        codebook_diversity_temperature: float = 100.0,
        affine_param: bool = False,
        affine_param_batch_decay: float = 0.99,
        affine_param_codebook_decay: float = 0.9,
        learnable_codebook: bool | None = None,
        ema_update: bool | None = None,
        freeze_codebook: bool = False,
        sync_codebook: bool | None = None,
        impl: Impl | None = None,
    ) -> None:
        given = {**locals()}
        super().__init__()
        settings.check(given)
        codebook_dim = dim if codebook_dim is None else codebook_dim
        self.estimator = settings.estimator_of(given)
        learnable = settings.is_learnable(given, self.estimator)
        self.dim, self.codebook_size, self.codebook_dim, self.heads = dim, codebook_size, codebook_dim, heads
        self.use_cosine_sim, self.impl = use_cosine_sim, impl
        self.separate_codebook_per_head = separate_codebook_per_head
        self.channel_last = channel_last and not (accept_image_fmap or accept_3d_fmap)
        self.stochastic_sample_codes, self.sample_codebook_temp = stochastic_sample_codes, sample_codebook_temp
        self.directional_reparam_variance = directional_reparam_variance
        has_own_loss = self.estimator != "diveq"
        self.commitment_weight = commitment_weight if has_own_loss else 0.0
        self.codebook_weight = codebook_weight if has_own_loss else 0.0
        self.regularizers = Regularizers(
            orthogonal_reg_weight,
            orthogonal_reg_active_codes_only,
            orthogonal_reg_max_codes,
            codebook_diversity_loss_weight,
            codebook_diversity_temperature,
        )
        self._layout = Layout(dim, self.channel_last)
        self._heads = Heads(heads, codebook_dim, self._layout.axis, heads > 1 and separate_codebook_per_head)
        width = heads * codebook_dim
        self.project_in = nn.Linear(dim, width) if dim != width else nn.Identity()
        self.project_out = nn.Linear(width, dim) if dim != width else nn.Identity()
        options: dict[str, Any] = {
            "metric": "cosine" if use_cosine_sim else "euclidean",
            "decay": decay,
            "eps": eps,
            "learnable": learnable,
            "kmeans_init": kmeans_init,
            "kmeans_iters": kmeans_iters,
            "dead_code_threshold": threshold_ema_dead_code,
            "sync": sync_codebook,
            "heads": heads if self._heads.separate else 1,
        }
        if affine_param:
            options |= {"batch_decay": affine_param_batch_decay, "codebook_decay": affine_param_codebook_decay}
        self._codebook = (AffineCodebook if affine_param else Codebook)(codebook_dim, codebook_size, **options)
        fixed = ema_update is False and not learnable
        self.freeze_codebook = freeze_codebook or fixed

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"codebook_size={self.codebook_size}"]
        parts += [f"codebook_dim={self.codebook_dim}"] if self.codebook_dim != self.dim else []
        parts += [f"heads={self.heads}"] if self.heads > 1 else []
        parts += ["separate_codebook_per_head=True"] if self._heads.separate else []
        parts += [f"metric={self._codebook.metric!r}", f"channel_last={self.channel_last}"]
        parts += ["learnable_codebook=True"] if self._codebook.learnable else [f"decay={self._codebook.decay}"]
        parts += ["freeze_codebook=True"] if self.freeze_codebook else []
        parts += [f"estimator={self.estimator!r}"] if self.estimator != "straight_through" else []
        parts += ["stochastic_sample_codes=True"] if self.stochastic_sample_codes else []
        return ", ".join([*parts, f"commitment_weight={self.commitment_weight}", *self.regularizers.shown()])
