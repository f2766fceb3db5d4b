"""`Likelihood`: what every p(x | z) shares, and its checks, which never make the host wait for a device."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Likelihood(nn.Module, ABC):
    """p(x | z) of an image x, given what a decoder made of z.

    The decoder yields `outputs_per_channel`, p, numbers for each value of x: `[B, p·C, ...]` for x `[B, C, ...]`. Its
    channels hold the first of them for all C, then the second, as an encoder's hold mean and log-variance. Everything
    is computed in float32, or float64 where the decoder gives that.

    Attributes:
        name: by which `make_likelihood` knows the class.
        outputs_per_channel: p.
        bounded: whether x must lie in [0, 1].
    """

    name: ClassVar[str]
    bounded: ClassVar[bool] = True
    outputs_per_channel: int = 1

    def log_prob(self, decoded: Tensor, x: Tensor) -> Tensor:
        """log p(x | z) in nats, summed over all but the batch: `[B]`, float32 (float64 for a float64 decoder).

        Raises:
            TypeError: decoded or x is not a floating-point tensor.
            ValueError: the shapes do not fit, or a bounded likelihood meets values outside [0, 1]. On CUDA and under
                `torch.compile` the latter is an assertion on the device.
        """
        self._check(decoded, x)
        decoded = _widened(decoded)
        return self._elements(decoded, x.to(decoded.dtype)).flatten(1).sum(1)

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        return self.log_prob(decoded, x)

    def mean(self, decoded: Tensor) -> Tensor:
        """The picture to show: the mean of p(x | z) within [0, 1], `[B, C, ...]`."""
        self._check_decoded(decoded)
        return self._mean(_widened(decoded))

    def sample(self, decoded: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw x from p(x | z), `[B, C, ...]`; generator on decoded's device, torch's own where absent."""
        self._check_decoded(decoded)
        with torch.no_grad():
            return self._sample(_widened(decoded), generator)

    def options(self) -> dict[str, Any]:
        """Plain values with which `make_likelihood(name, **options)` builds this likelihood again."""
        return {}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options().items())

    @abstractmethod
    def _elements(self, decoded: Tensor, x: Tensor) -> Tensor:
        """log p of each value of x."""

    @abstractmethod
    def _mean(self, decoded: Tensor) -> Tensor: ...

    @abstractmethod
    def _sample(self, decoded: Tensor, generator: torch.Generator | None) -> Tensor: ...

    def _check_decoded(self, decoded: Tensor) -> None:
        check_floating("decoded", decoded)
        if decoded.ndim < 2 or decoded.shape[1] % self.outputs_per_channel:
            raise ValueError(
                f"decoded must have shape [B, {self.outputs_per_channel}·C, ...] under {type(self).__name__}; "
                f"got {tuple(decoded.shape)}"
            )

    def _check(self, decoded: Tensor, x: Tensor) -> None:
        self._check_decoded(decoded)
        check_floating("x", x, ": divide 8-bit images by 255")
        shape = decoded.shape[0], decoded.shape[1] // self.outputs_per_channel, *decoded.shape[2:]
        if tuple(x.shape) != shape:
            raise ValueError(
                f"x must have shape {shape}, as decoded has {tuple(decoded.shape)} and {type(self).__name__} takes "
                f"{self.outputs_per_channel} of its channels for each of x's; got {tuple(x.shape)}"
            )
        if x.device != decoded.device:
            raise ValueError(f"x must be on decoded's device, {decoded.device}; got {x.device}")
        if self.bounded:
            require(
                ((x >= 0) & (x <= 1)).all(),
                f"x must lie in [0, 1] under {type(self).__name__}: divide 8-bit images by 255 and leave out other "
                "normalisation, or use GaussianLikelihood, which takes any values",
                x,
            )


def require(condition: Tensor, message: str, got: Tensor) -> None:
    """Raise ValueError with what came, unless the 0-d condition holds; on CUDA and under `torch.compile` assert it on
    the device, since the host would have to wait for the answer."""
    if torch.compiler.is_compiling() or condition.is_cuda:
        torch._assert_async(condition, message)
    elif not condition:
        low, high = got.aminmax()
        came = f"{low:g}" if low == high else f"values from {low:g} to {high:g}"
        raise ValueError(f"{message}; got {came}")


def check_floating(name: str, tensor: Tensor, hint: str = "") -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point{hint}; got {tensor.dtype}")


def _widened(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
