"""EAGLE on one machine: the method, its conditioners, its step sizes."""

from eagle.methods.eagle.method import Eagle

__all__ = ["Eagle"]
