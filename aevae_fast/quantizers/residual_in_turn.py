"""What the stages of a residual quantizer do in a forward: one layer after the other, with any options."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import functional
from ..functional._autograd import Accompanied
from .estimators import directional
from .heads import Part
from .residual_decoding import codes_of
from .residual_stages import Call, Result
from .vector_quantize import VectorQuantize


def quantize_in_turn(stages: Sequence[VectorQuantize], x: Tensor, call: Call) -> Result:
    """Each stage is given what those before it leave over. x → quantized like x, indices [..., Q], losses [Q]."""
    first, rows = stages[0], _rows(x, call)
    soft = first.estimator in ("ibq", "gumbel")  # whose gradient is no identity to be passed on once, but each stage's
    residual, total, carried = rows, torch.zeros_like(rows), torch.zeros_like(rows)
    indices, losses = [], []
    for number, stage in enumerate(stages):
        options = {"freeze_codebook": call.frozen or None, "sample_codebook_temp": call.temperature}
        found, chosen, loss = stage(residual, _used(rows, call, number), **options)
        code = found.detach()
        if first.estimator == "diveq":  # what it returns is only near its code, and does not teach it
            codes = stage.codebook.detach() if call.frozen or stage.freeze_codebook else stage.codebook
            code = codes[chosen.clamp(min=0)].where((chosen >= 0)[..., None], code)
        indices.append(chosen)
        losses.append(loss if call.active is None else loss.where(call.active > number, 0.0))
        total, carried, residual = total + (found if soft else code), carried + found, residual - code.detach()
        # No gradient of this stage's loss passes, but a stage takes what needs none for a batch that nothing comes back
        # from, and would move its codebook at once.
        residual = residual if call.detach_residual else Accompanied.apply(residual.detach(), residual)
    # Statistics travel as gradients: what carries them has its part in the graph, with a gradient of 0.
    quantized = total if soft else Accompanied.apply(_estimate(first, rows, total, indices[0], call), carried)
    return quantized.to(x.dtype).movedim(-1, call.dim), torch.stack(indices, -1), torch.stack(losses)


def cross_entropy_in_turn(
    stages: Sequence[VectorQuantize], x: Tensor, targets: Tensor, call: Call
) -> tuple[Tensor, Tensor]:
    """targets [..., Q] → the sum of their codes, straight through to x, and the sum over stages of each one's
    cross-entropy, what is left over being taken after the targets before it; nats, 0-d. No codebook moves."""
    rows = _rows(x, call)
    targets = targets if call.mask is None else targets.where(call.mask[..., None], -1)
    total, loss = torch.zeros_like(rows), rows.new_zeros(())
    for number, (stage, target) in enumerate(zip(stages, targets.unbind(-1), strict=True)):
        mask = _used(rows, call, number)
        options = {"freeze_codebook": True, "sample_codebook_temp": call.temperature}
        loss = loss + stage(rows - total, mask, indices=target, **options)[1]
        total = total + codes_of(target[..., None], [stage.codebook.detach()])[0]
    return (total + (rows - rows.detach())).to(x.dtype).movedim(-1, call.dim), loss


def _rows(x: Tensor, call: Call) -> Tensor:
    """x as [..., D] in float32 or wider, 0 where masked."""
    last = x.movedim(call.dim, -1).to(torch.promote_types(x.dtype, torch.float32))
    return last if call.mask is None else last.where(call.mask[..., None], 0.0)


def _used(rows: Tensor, call: Call, stage: int) -> Tensor | None:
    """Which vectors the stage sees; a stage that is not in use sees none."""
    if call.active is None:
        return call.mask
    used = (call.active > stage).expand(rows.shape[:-1])
    return used if call.mask is None else call.mask & used


def _estimate(first: VectorQuantize, rows: Tensor, total: Tensor, chosen: Tensor, call: Call) -> Tensor:
    """total, the sum of the codes, with a gradient to rows: once for all stages."""
    if first.rotation_trick:
        return functional.rotate_to(rows, total.detach(), impl=first.impl)
    passed = total.detach() + (rows - rows.detach())  # exactly the codes in value
    if first.estimator != "diveq":
        return passed
    training = first.training and not (call.frozen or first.freeze_codebook)
    place = torch.arange(chosen.numel(), device=chosen.device).view(chosen.shape).where(chosen >= 0, -1)
    variance = first.directional_reparam_variance if training else 0.0
    return directional(Part(rows, call.mask, -1), total.flatten(0, -2), passed, place, variance)
