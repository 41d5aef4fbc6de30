"""What all pictures share: panels, grid and legend, and one look for every method.

In pictures with marks ours are blue and green, rivals warm and grey (`look`). In the paper's
figures blue is the paper's, green and its neighbours ours, warm colours the rivals (`style`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eagle.gallery.plotting import COLOURS, DASHES, MARKERS

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = COLOURS
LOOKS = {
    "auto": (BLUE, "-", "o"), "auto, sparse A": (BLUE, ":", "s"),
    "EAGLE (minimax)": (GREEN, "-", "D"), "EAGLE (Cholesky)": (GREEN, "--", "^"),
    "EAGLE (paper)": (GREEN, ":", "v"), "EAGLE (frozen)": (GREEN, "-.", "v"),
    "compressed (ours)": (SKY, "-", "P"), "sketched (ours)": (SKY, "--", "X"),
    "krylov (ours)": (BLUE, "--", "s"), "averaging, finished (ours)": (BLUE, "-.", "d"),
    "SVD lstsq": (BLACK, "-", "o"), "gelsy": (BLACK, "--", "s"),
    "dense LU": ("0.55", "-", "D"), "QR": ("0.55", "--", "D"),
    "sparse LU": (PURPLE, "-", "^"), "sparse QR": (PURPLE, "--", "v"),
    "CG": (VERMILION, "-.", "P"), "LSMR": (ORANGE, "-.", "X"), "pinv": (VERMILION, "-", "P"),
    "paper's rule, 4 machines": (ORANGE, "-", "X"),
    "gram": (BLACK, "--", "s"), "TSQR": ("0.55", "-", "D"),
}  # fmt: skip
STYLES = {
    "EAGLE (paper)": (0, 0), "EAGLE (minimax)": (2, 0), "EAGLE (Cholesky)": (2, 1),
    "EAGLE (frozen)": (5, 1), "sketched (ours)": (5, 2), "compressed (ours)": (5, 3),
    "krylov (ours)": (2, 0), "CG": (1, 2), "GD": (3, 3), "SGD": (3, 3), "APC": (4, 1),
    "SVD lstsq": (6, 0), "QR lstsq": (6, 1),
}  # fmt: skip


def look(method: str, **changes: Any) -> dict[str, Any]:
    """Options for a line of a matplotlib picture; hollow marks are rivals'."""
    colour, line, mark = LOOKS[method]
    face = colour if colour in (BLUE, GREEN, SKY) else "white"
    own = {"color": colour, "linestyle": line, "marker": mark, "markerfacecolor": face}
    return own | {"markersize": 5, "label": method} | changes


def style(label: str, index: int = 0, **changes: Any) -> dict[str, Any]:
    """Colour and dashes of a method, the same in all figures; by `index` for anything else."""
    colour, dash = STYLES.get(label, (index % len(COLOURS), index % len(DASHES)))
    return {"color": COLOURS[colour], "linestyle": DASHES[dash], "label": label, **changes}


def marker(index: int) -> str:
    """The markers of `eagle.gallery.plotting`, in turn."""
    return MARKERS[index % len(MARKERS)]


def panels(
    columns: int, rows: int = 1, *, width: float = 3.4, height: float = 3.0, **options: Any
) -> tuple[Any, list[Any]]:
    """A figure and its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns, **options)).flat)


def finish(figure: Any, all_axes: Sequence[Any], *, columns: int = 4) -> Any:
    """Grid and frame as in `eagle.gallery.plotting`, one legend below; no grid on images."""
    entries: dict[str, Any] = {}
    for axes in all_axes:
        if axes.images:
            continue
        axes.grid(True, which="major", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
        for axis, enough in ((axes.xaxis, 1), (axes.yaxis, 2)):
            low, high = axis.get_view_interval()
            powers = sum(low <= tick <= high for tick in axis.get_majorticklocs())
            if axis.get_scale() == "log" and powers >= enough:
                axis.set_minor_formatter("")  # labels between powers of ten would overlap
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside lower center",
            ncols=min(columns, len(entries)), frameon=False, fontsize=9,
        )  # fmt: skip
    return figure
