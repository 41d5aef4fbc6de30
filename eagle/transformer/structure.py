"""What the weights of one layer look like, and the constants in them.

With tokens as rows (see `eagle.transformer.model`) one layer of the rule is::

    W_QK = a1 diag(S S^T, 0),   W_VP = diag(a2 S S^T, a3 I),
    eta = -a1 a2 ||A_l S||^2,   gamma = -a1 a3 ||A_l S||^2,

``S = I`` unless compute-limited, ``||A_l S||`` the largest spectral norm in a batch. Only the
products a1 a2 and a1 a3 mean anything: the sign of a1 is a convention, here positive. Attention
adds one term to C and to D, and C has to shrink, so the products are negative and D tends to minus
the hidden block. Between machines W_VP is ``diag(0, a3 I)``: only C and D travel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats
import torch

from eagle.transformer.config import ModelConfig
from eagle.transformer.model import LinearTransformer
from eagle.transformer.rule import LayerRule, Structure

THRESHOLD = 1.5  # times the mean absolute entry: what sparsification keeps [paper, section 4]


def read_layer(model: LinearTransformer, index: int) -> LayerRule:
    """Constants and structure of one layer, its norm still 1; heads that share a pattern add up."""
    config = model.config
    W_QK, W_VP = array(model.W_QK[index]), relevant(model, index)
    limited, last = config.regime == "compute-limited", index + 1 == config.layers
    visible, _ = config.machine_features
    blocks = W_QK[0, :visible, :visible], W_VP[0, :visible, :visible]

    def read(sketch: np.ndarray | None, lift: np.ndarray | None) -> list[_Head]:
        return [
            _Head(W_QK[h % len(W_QK)], W_VP[h], config, machine=h, sketch=sketch, lift=lift)
            for h in range(len(W_VP))
        ]

    sketch = lift = None
    if limited:
        sketch, lift = _sketch(blocks[0], config.rank), _lift(blocks[1])
    heads = patterns = read(sketch, lift)
    if not limited and any(0 < _rank(block) < visible for block in blocks):
        # Directions were dropped: the diagonal is still the pattern, but not the rule.
        sketch, lift = _sketch(blocks[0], visible), _lift(blocks[1])
        heads = read(sketch, lift)
    # Every machine lifts its own A: the mean over heads. C is averaged after all have added to it.
    machines = 1 if config.transposed else config.machines
    eta_step = -sum(head.a1 * head.a2 for head in heads) / machines
    gamma_step = -sum(head.a1 * head.a3 for head in heads)
    return LayerRule(
        eta_step,
        gamma_step,
        1.0,
        sketch,
        lift if lift is not None and not last else None,
        _structure(model, index, patterns, sketch, None if last else lift),
    )


def _structure(
    model: LinearTransformer,
    index: int,
    heads: Sequence[_Head],
    sketch: np.ndarray | None,
    lift: np.ndarray | None,
) -> Structure:
    (visible, _), r = model.config.machine_features, model.config.rank
    limited = model.config.regime == "compute-limited"
    first = heads[0]
    projector = first.block / (first.a1 or 1.0)  # S S^T, or I
    bias = agreement = overlap = full = gaussian = None
    if model.config.regime == "estimation":
        actual = first.sign * array(model.bias[index] @ model.key[index, 0].mT)
        ideal = first.a1 * np.eye(*actual.shape)
        bias = _fraction([(actual, ideal)])
    if limited and sketch is not None and lift is not None:
        Q = np.linalg.qr(sketch)[0]
        agreement = float(np.linalg.norm(projector - lift) / np.linalg.norm(projector))
        overlap = float((np.linalg.norm(Q.T @ lift @ Q) / np.linalg.norm(lift)) ** 2)
        full = float(np.trace(lift) ** 2 / np.linalg.norm(lift) ** 2 / visible)
    if limited:
        entries = projector[~np.eye(visible, dtype=bool)]
        variance = r * (visible - r) / (visible * (visible + 2) * (visible - 1))
        gaussian = float(scipy.stats.kstest(entries, "norm", (0, variance**0.5)).pvalue)
    diagonal = np.diag(first.block)
    return Structure(
        off_pattern_QK=_fraction([(head.W_QK, head.pattern_QK) for head in heads]),
        off_pattern_VP=_fraction([(head.W_VP, head.pattern_VP) for head in heads]),
        off_pattern_bias=bias,
        spread=float(diagonal.std() / abs(diagonal.mean())) if diagonal.any() else np.inf,
        rank=_rank(first.block),
        eigenvalues=np.linalg.eigvalsh((projector + projector.T) / 2)[::-1],
        agreement=agreement,
        overlap=overlap,
        full=full,
        gaussian=gaussian,
        sparse=all(head.sparse for head in heads),
    )


class _Head:
    """One head's weights against the pattern ``a1 diag(S S^T, 0)``, ``diag(a2 P, a3 I)``."""

    def __init__(
        self,
        W_QK: np.ndarray,
        W_VP: np.ndarray,
        config: ModelConfig,
        *,
        machine: int,
        sketch: np.ndarray | None,
        lift: np.ndarray | None,
    ) -> None:
        visible, hidden = config.machine_features
        size = visible + hidden
        starts = range(0, config.features, size)
        own = 0 if config.transposed else machine * size
        projector = np.eye(visible) if sketch is None else sketch @ sketch.T
        lifted = np.eye(visible) if lift is None else lift
        self.sign = float(np.sign(np.trace(W_QK[:visible, :visible] @ projector)) or 1.0)
        self.W_QK, self.W_VP = self.sign * W_QK, self.sign * W_VP
        self.block = self.W_QK[:visible, :visible]
        self.a1 = _multiple(self.block, projector)
        self.a2 = _multiple(self.W_VP[:visible, own : own + visible], lifted)
        hiddens = [self.W_VP[visible:, start + visible : start + size] for start in starts]
        self.a3 = float(np.mean([_multiple(block, np.eye(hidden)) for block in hiddens]))
        self.pattern_QK = np.zeros_like(W_QK)
        self.pattern_QK[:visible, :visible] = self.a1 * projector
        self.pattern_VP = np.zeros_like(W_VP)
        self.pattern_VP[:visible, own : own + visible] = self.a2 * lifted
        for start in starts:
            self.pattern_VP[visible:, start + visible : start + size] = self.a3 * np.eye(hidden)

    @property
    def sparse(self) -> bool:
        kept = [sparsify(W) != 0 for W in (self.W_QK, self.W_VP)]
        wanted = [pattern != 0 for pattern in (self.pattern_QK, self.pattern_VP)]
        return all(np.array_equal(k, w) for k, w in zip(kept, wanted, strict=True))


def _multiple(W: np.ndarray, pattern: np.ndarray) -> float:
    """A with a * pattern nearest to W."""
    size = np.sum(pattern**2)
    return float(np.sum(W * pattern) / size) if size else 0.0


def _fraction(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Energy off the pattern, of all heads together."""
    whole = sum(np.linalg.norm(W) ** 2 for W, _ in pairs)
    off = sum(np.linalg.norm(W - pattern) ** 2 for W, pattern in pairs)
    return float(off / whole) if whole else np.inf


def _sketch(block: np.ndarray, rank: int) -> np.ndarray:
    """S with S S^T nearest to the symmetric part of a multiple of `block`, mean eigenvalue 1."""
    symmetric = (block + block.T) / 2
    values, vectors = np.linalg.eigh(symmetric * (np.sign(np.trace(symmetric)) or 1.0))
    values, vectors = np.maximum(values[-rank:], 0), vectors[:, -rank:]
    return np.ascontiguousarray(vectors * np.sqrt(values / (values.mean() or 1.0)))


def _rank(block: np.ndarray) -> int:
    """Singular values above half the largest."""
    values = np.linalg.svd(block, compute_uv=False)
    return int((values > values[0] / 2).sum())


def _lift(block: np.ndarray) -> np.ndarray:
    """`block` with mean non-zero singular value 1 and a trace that is not negative."""
    values = np.linalg.svd(block, compute_uv=False)
    kept = values[values > 1e-6 * values[0]]
    sign = np.sign(np.trace(block)) or 1.0
    return sign * block / (kept.mean() if kept.size else 1.0)


def relevant(model: LinearTransformer, index: int) -> np.ndarray:
    """W_VP of one layer; in the last, only what reaches D."""
    W_VP = array(model.W_VP[index])
    if index + 1 == model.config.layers:
        visible, hidden = model.config.machine_features
        reaches = np.arange(W_VP.shape[-1]) % (visible + hidden) >= visible
        W_VP = W_VP * reaches
    return W_VP


def sparsify(W: np.ndarray) -> np.ndarray:
    """Entries below 1.5 times the mean absolute entry set to zero.

    Parameters
    ----------
    W : ndarray
        Weights.

    Returns
    -------
    ndarray
        A copy.

    References
    ----------
    .. [1] arXiv:2509.19702, section 4, step 2.
    """
    return np.where(np.abs(W) >= THRESHOLD * np.abs(W).mean(), W, 0.0)


def cluster(W: np.ndarray, values: int) -> np.ndarray:
    """Every entry replaced by the nearest of a few values, one of them 0: k-means in one dimension.

    Parameters
    ----------
    W : ndarray
        Sparsified weights.
    values : int
        How many distinct values, 0 among them.

    Returns
    -------
    ndarray
        A copy.

    References
    ----------
    .. [1] arXiv:2509.19702, section 4, step 2.
    """
    extreme = W.flat[np.abs(W).argmax()]
    starts = [extreme * np.linspace(low, 1, values - 1) for low in np.linspace(0.1, 0.9, 9)]
    trials = [_lloyd(W, np.append(0.0, start)) for start in starts]
    return min(trials, key=lambda trial: float(np.linalg.norm(trial - W)))


def _lloyd(W: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Lloyd's iteration with the first mean held at 0."""
    while True:
        labels = np.abs(W[..., None] - means).argmin(-1)
        own = [W[labels == k] for k in range(1, len(means))]
        new = [0.0, *(x.mean() if x.size else m for x, m in zip(own, means[1:], strict=True))]
        if np.array_equal(new, means):
            return means[labels]
        means = np.array(new)


def array(W: torch.Tensor) -> np.ndarray:
    """Weights as float64."""
    return W.detach().double().numpy()
