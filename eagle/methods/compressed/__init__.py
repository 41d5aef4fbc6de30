"""One random sketch of A and a small core: the method, ranges of sketches, sketching matrices."""

from eagle.methods.compressed.method import Compressed

__all__ = ["Compressed"]
