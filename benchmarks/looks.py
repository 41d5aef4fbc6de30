"""One colour, dash and marker for every method, ours in blue and green, rivals in warm and grey."""

from __future__ import annotations

from typing import Any

from eagle.gallery.plotting import COLOURS

__all__ = ["LOOKS", "look"]

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = COLOURS
LOOKS = {
    "auto": (BLUE, "-", "o"),
    "auto, sparse A": (BLUE, ":", "s"),
    "EAGLE (minimax)": (GREEN, "-", "D"),
    "EAGLE (Cholesky)": (GREEN, "--", "^"),
    "EAGLE (paper)": (GREEN, ":", "v"),
    "EAGLE (frozen)": (GREEN, "-.", "v"),
    "compressed (ours)": (SKY, "-", "P"),
    "sketched (ours)": (SKY, "--", "X"),
    "krylov (ours)": (BLUE, "--", "s"),
    "averaging, finished (ours)": (BLUE, "-.", "d"),
    "SVD lstsq": (BLACK, "-", "o"),
    "gelsy": (BLACK, "--", "s"),
    "dense LU": ("0.55", "-", "D"),
    "QR": ("0.55", "--", "D"),
    "sparse LU": (PURPLE, "-", "^"),
    "sparse QR": (PURPLE, "--", "v"),
    "CG": (VERMILION, "-.", "P"),
    "LSMR": (ORANGE, "-.", "X"),
    "pinv": (VERMILION, "-", "P"),
    "paper's rule, 4 machines": (ORANGE, "-", "X"),
    "gram": (BLACK, "--", "s"),
    "TSQR": ("0.55", "-", "D"),
}


def look(method: str, **changes: Any) -> dict[str, Any]:
    """Options for a line of a matplotlib picture; hollow marks are rivals'."""
    colour, line, mark = LOOKS[method]
    ours = colour in (BLUE, GREEN, SKY)
    return {
        "color": colour,
        "linestyle": line,
        "marker": mark,
        "markersize": 5,
        "markerfacecolor": colour if ours else "white",
        "label": method,
        **changes,
    }
