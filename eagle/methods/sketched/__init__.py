"""EAGLE on a few columns of A at a time: the method and its two kinds of sketches."""
