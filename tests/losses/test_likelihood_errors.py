"""What the likelihoods refuse, and what they say to it."""

from typing import Any

import pytest
import torch

from aevae_fast.losses import GaussianLikelihood, make_likelihood

from .cases import CASES, case, images

D, X = torch.zeros(2, 6, 4), torch.rand(2, 6, 4)
BAD: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "one of 'bernoulli', 'gaussian', .*; got 'poisson'", lambda: make_likelihood("poisson")),
    (TypeError, "a name or a Likelihood; got int", lambda: make_likelihood(3)),  # type: ignore[arg-type]
    (ValueError, "takes no options; got sigma", lambda: make_likelihood(case("gaussian"), sigma=1)),
    (TypeError, "unexpected keyword argument 'levels'", lambda: make_likelihood("bernoulli", levels=2)),
    (ValueError, "sigma must be above 0 and finite; got 0", lambda: GaussianLikelihood(0)),
    (ValueError, "sigma must be above 0 and finite; got nan", lambda: GaussianLikelihood(torch.nan)),
    (ValueError, "levels must be at least 2; got 1", lambda: make_likelihood("categorical", levels=1)),
    (TypeError, "levels must be an int; got float", lambda: make_likelihood("discretized_logistic", levels=2.0)),
    (
        ValueError,
        "components must be at least 1",
        lambda: make_likelihood("discretized_logistic_mixture", components=0),
    ),
    (TypeError, "x must be floating point: divide 8-bit", lambda: case("bernoulli")(D, X.byte())),
    (TypeError, "decoded must be a torch.Tensor; got list", lambda: case("bernoulli")([0.0], X)),
    (ValueError, r"x must have shape \(2, 6, 4\), .*; got \(2, 3, 4\)", lambda: case("bernoulli")(D, X[:, :3])),
    (ValueError, r"x must have shape \(2, 3, 4\), .*2 of its", lambda: case("discretized_logistic")(D, X)),
    (ValueError, r"decoded must have shape \[B, 256·C, ...\]", lambda: case("categorical").mean(D)),
    (ValueError, "x must be on decoded's device, cpu; got meta", lambda: case("bernoulli")(D, X.to("meta"))),
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=[b[1][:30] for b in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, torch.nan])
def test_values_outside_the_unit_interval_say_what_to_change(name: str, value: float) -> None:
    likelihood = case(name)
    decoded, x = images(likelihood)
    x[1, 0, 0, 0] = value
    if likelihood.bounded:
        with pytest.raises(ValueError, match=r"x must lie in \[0, 1\] under .*divide 8-bit images by 255.*; got"):
            likelihood(decoded, x)
    else:
        assert likelihood(decoded, x).shape == (2,)
