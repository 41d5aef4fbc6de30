"""EAGLE on a few columns of A at a time: the method and its two kinds of sketches."""

from eagle.methods.sketched.method import Sketched

__all__ = ["Sketched"]
