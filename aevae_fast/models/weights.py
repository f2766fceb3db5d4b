"""Weights of a loss, as `aevae_fast.losses` has them."""

from aevae_fast.losses.weights import Weight, make_weight, plain_weight, weight_at

__all__ = ["Weight", "make_weight", "plain_weight", "weight_at"]
