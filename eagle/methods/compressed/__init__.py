"""One random sketch of A and a small core: the method, ranges of sketches, sketching matrices."""
