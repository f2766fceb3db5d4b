"""Flows: the volume is the Jacobian's, the inverse undoes them, and constraints keep it so for any parameters."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast.latents.flows import FLOWS, Flow, FlowChain, PlanarFlow, RadialFlow, make_flow

DIM = 3
OPTIONS: dict[str, dict[str, Any]] = {
    "planar": {"length": 6},
    "radial": {"length": 6},
    "coupling": {"hidden": [8]},
    "spline": {"hidden": [8], "transforms": 2},
    "autoregressive": {"hidden": [8]},
}


def some_flow(name: str, scale: float = 1.0) -> Flow:
    torch.manual_seed(1)
    flow = make_flow(name, DIM, **OPTIONS[name]).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=scale if name in ("planar", "radial") else 0.1)
    return flow


def points(count: int = 50, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(count, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("name", FLOWS)
def test_the_volume_is_the_jacobians(name: str) -> None:
    flow, z = some_flow(name), points(20)
    _, found = flow(z)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda row: flow(row[None])[0][0], row) for row in z])
    torch.testing.assert_close(found, jacobian.slogdet().logabsdet, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("name", FLOWS)
def test_the_inverse_undoes_it(name: str, scale: float) -> None:
    """Up to what the flow's steepest squeeze makes of a rounding; a strong planar one is nearly flat in places."""
    flow, z = some_flow(name, scale), points()
    y, log_det = flow(z)
    back = flow.inverse(y)
    assert not back.requires_grad
    torch.testing.assert_close(flow(back)[0], y, rtol=1e-9, atol=1e-9)
    steep = torch.exp(-log_det).clamp(min=1).detach()  # at least one direction is squeezed as much
    assert ((back - z).abs().amax(1) < 1e-7 * steep).all()


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("kind", [PlanarFlow, RadialFlow])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_parameters_make_it_fold(kind: type[Flow], scale: float, dtype: torch.dtype) -> None:
    """Along the direction that it bends, y rises with z; without the constraints of the paper it would not."""
    for seed in range(20):
        torch.manual_seed(seed)
        flow = kind(DIM).to(dtype)
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=min(scale, 5.0) if parameter.ndim == 0 else scale)
        if isinstance(flow, PlanarFlow):
            along = flow.weight.detach() / flow.weight.detach().norm()
            start = torch.zeros(DIM, dtype=dtype)
        else:
            assert isinstance(flow, RadialFlow)
            along, start = torch.eye(DIM, dtype=dtype)[0], flow.center.detach()
        z = start + torch.linspace(0, 4, 400, dtype=dtype)[:, None] * along
        y, log_det = flow(z)
        way = (y.detach() - y.detach()[0]) @ along
        rounding = 64 * torch.finfo(dtype).eps * (1 + y.detach().abs().max() + flow_size(flow))
        assert (way.diff() >= -rounding).all()
        assert log_det.isfinite().all()


def flow_size(flow: Flow) -> float:
    return max(float(parameter.detach().abs().max()) for parameter in flow.parameters())


@pytest.mark.parametrize("kind", [PlanarFlow, RadialFlow])
def test_it_starts_near_the_identity(kind: type[Flow]) -> None:
    torch.manual_seed(0)
    z = points()
    y, log_det = kind(DIM).double()(z)
    torch.testing.assert_close(y, z, rtol=0, atol=0.1)
    assert log_det.abs().max() < 0.1


@pytest.mark.parametrize("kind", [PlanarFlow, RadialFlow])
def test_gradients(kind: type[Flow]) -> None:
    torch.manual_seed(0)
    flow, z = kind(DIM).double(), points(4).requires_grad_()
    names, parameters = zip(*flow.named_parameters(), strict=True)

    def call(z: Tensor, *values: Tensor) -> Any:
        return torch.func.functional_call(flow, dict(zip(names, values, strict=True)), (z,))

    assert torch.autograd.gradcheck(call, (z, *parameters))


def test_at_its_centre_a_radial_flow_has_a_gradient() -> None:
    flow = RadialFlow(DIM).double()
    z = flow.center.detach().clone()[None].requires_grad_()
    y, log_det = flow(z)
    (y.sum() + log_det.sum()).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    torch.testing.assert_close(flow.inverse(y.detach()), z.detach())


def test_a_chain_is_its_links_in_order() -> None:
    torch.manual_seed(0)
    first, second = PlanarFlow(DIM).double(), RadialFlow(DIM).double()
    with torch.no_grad():
        first.direction.add_(1)
        second.beta.add_(2)
    z = points()
    y, log_det = FlowChain([first, second])(z)
    middle, one = first(z)
    expected, two = second(middle)
    assert torch.equal(y, expected)
    torch.testing.assert_close(log_det, one + two)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "flow must be one of 'planar', 'radial'.*; got 'sylvester'", lambda: make_flow("sylvester", 2)),
        (TypeError, "flow must be a name; got int", lambda: make_flow(2, 2)),  # type: ignore[arg-type]
        (TypeError, "flows must be one Flow or more", lambda: FlowChain([])),
        (ValueError, r"flows must have the same dim; got \[2, 3\]", lambda: FlowChain([PlanarFlow(2), RadialFlow(3)])),
        (ValueError, "dim must be at least 1; got 0", lambda: PlanarFlow(0)),
    ],
)
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()
