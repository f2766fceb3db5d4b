"""Invertible maps: the volume they change is known, so that densities go through them."""

from .flow import Flow

__all__ = ["Flow"]
