"""The rule as data: constants and sketches per layer, ready to run, to print and to compare.

A `Rule` moves the blocks with `eagle.update.update`; `Rule.model` puts the same update into the
weights of a transformer, with nothing off the pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from eagle.problem.options import check_count
from eagle.transformer import text
from eagle.transformer.config import ModelConfig, TaskConfig
from eagle.transformer.data import Batch, sample_batch
from eagle.transformer.model import LinearTransformer
from eagle.update import Blocks, average, update

BATCH = 1024  # the paper's: norms are medians of maxima over batches of this size


@dataclass(frozen=True, eq=False)
class Structure:
    """What the weights of one layer look like.

    Energies are squared Frobenius norms relative to the whole matrix.

    Attributes
    ----------
    off_pattern_QK, off_pattern_VP : float
        Energy outside ``a1 diag(S S^T, 0)`` and ``diag(a2 P, a3 I)``. Of the last layer's
        W_VP only the columns that reach D count.
    off_pattern_bias : float or None
        The same for the query bias against ``a1 I``, estimation regime.
    spread : float
        Relative standard deviation of the diagonal of the visible block of W_QK.
    rank : int
        Singular values of that block above half the largest.
    eigenvalues : ndarray (visible features,)
        Of its symmetric part over a1, descending: 1 and 0 for a projector.
    agreement : float or None
        Relative Frobenius distance of the visible blocks of W_QK / a1 and W_VP / a2.
    overlap : float or None
        Compute-limited: energy of P inside the range of S, from both sides; 1 is the paper's
        lift. ``r / n`` is the full lift, ``(r / n)^2`` chance.
    full : float or None
        Compute-limited: energy of P along the identity; 1 is the full lift, ``r / n`` a projector
        of rank r. Both None in the last layer, where A is not needed.
    gaussian : float or None
        p-value of the Kolmogorov-Smirnov test that the off-diagonal entries of the visible block
        of W_QK / a1 are those of a random projector: normal, with variance
        ``r (n - r) / (n (n + 2) (n - 1))``. Compute-limited only.
    sparse : bool
        Whether what sparsification keeps is exactly the diagonal pattern.
    """

    off_pattern_QK: float
    off_pattern_VP: float
    off_pattern_bias: float | None
    spread: float
    rank: int
    eigenvalues: np.ndarray
    agreement: float | None
    overlap: float | None
    full: float | None
    gaussian: float | None
    sparse: bool


@dataclass(frozen=True, eq=False)
class LayerRule:
    """One layer's update.

    Attributes
    ----------
    eta_step, gamma_step : float
        As `eagle.update.update` takes them: divided by ``norm^2``.
    norm : float
        Largest ``||A_l S_l||_2`` in a batch, median of batches; S_l is I without a sketch.
    sketch : ndarray (visible features, r) or None
        S, if compute-limited or if some directions of the visible block were dropped. Orthonormal
        in the paper; here columns have the sizes that the weights give them, the mean of their
        squares being 1.
    lift : ndarray (visible features, visible features) or None
        P in ``A <- A - eta At At^T A P``; None: that of the configuration, ``S S^T`` or I.
    structure : Structure or None
        Where it was read from, None for a rule that was not read from a model.
    """

    eta_step: float
    gamma_step: float
    norm: float
    sketch: np.ndarray | None = None
    lift: np.ndarray | None = None
    structure: Structure | None = None

    @property
    def eta(self) -> float:
        """Step size of the conditioning, in units of ``||A_l S_l||^-2``."""
        return self.eta_step * self.norm**2

    @property
    def gamma(self) -> float:
        """Step size of the contraction, in units of ``||A_l S_l||^-2``."""
        return self.gamma_step * self.norm**2


@dataclass(frozen=True, eq=False)
class Rule:
    """A depth-L iteration with constants of its own at every step.

    Attributes
    ----------
    config : ModelConfig
        Of the model that it describes.
    layers : tuple of LayerRule
        One per layer.
    reasons : tuple of str
        Why it does *not* describe the model; empty if it does.
    model_error, rule_error, quantised_error : float
        Test errors (mean square per entry of D, noiseless): of the model, of this rule, and of
        the model with its weights sparsified and clustered. NaN for a rule not read from a model.
    distance : float
        Mean squared distance between the predictions of rule and model.
    heads : tuple of int
        Heads that were left after pruning.
    task : TaskConfig or None
        On which norms and errors were measured; None for a rule not read from a model.
    """

    config: ModelConfig
    layers: tuple[LayerRule, ...]
    reasons: tuple[str, ...] = ()
    model_error: float = np.nan
    rule_error: float = np.nan
    quantised_error: float = np.nan
    distance: float = np.nan
    heads: tuple[int, ...] = (0,)
    task: TaskConfig | None = None

    @property
    def learned(self) -> bool:
        """Whether the model follows this rule."""
        return not self.reasons

    @property
    def eta(self) -> tuple[float, ...]:
        """Per layer, in units of ``||A_l S_l||^-2``; the last has no effect on D."""
        return tuple(layer.eta for layer in self.layers)

    @property
    def gamma(self) -> tuple[float, ...]:
        """Per layer, in units of ``||A_l S_l||^-2``."""
        return tuple(layer.gamma for layer in self.layers)

    @property
    def sketch(self) -> tuple[np.ndarray | None, ...]:
        """S per layer, None unless compute-limited."""
        return tuple(layer.sketch for layer in self.layers)

    def states(self, batch: Batch) -> Iterator[torch.Tensor]:
        """The states that a transformer following the rule would have.

        Parameters
        ----------
        batch : Batch
            Blocks; D is not read.

        Yields
        ------
        Tensor (batch, tokens, features)
            From the prompt to the output, ``layers + 1`` in all; D with a minus sign.
        """
        machines = self._start(batch)
        yield self._tokens(machines)
        for layer in self.layers:
            machines = self._step(machines, layer)
            yield self._tokens(machines)

    def predict(self, batch: Batch) -> torch.Tensor:
        """The hidden blocks by the rule.

        Parameters
        ----------
        batch : Batch
            Blocks; D is not read.

        Returns
        -------
        Tensor (batch, d', n')
        """
        machines = self._start(batch)
        for layer in self.layers:
            machines = self._step(machines, layer)
        D = machines[0].D  # averaged: the same on all machines
        D = D.mT if self.config.transposed else D
        return D @ batch.C if self.config.regime == "estimation" else D

    def with_constants(
        self,
        eta: float = 1.0,
        gamma: float = 1.9,
        *,
        task: TaskConfig | None = None,
        batches: int = 16,
        seed: int = 0,
    ) -> Rule:
        """The paper's rule with the same two constants in every layer.

        Norms are measured anew, as this rule has states of its own. Of a compute-limited rule the
        ranges of the sketches are kept, orthonormal and with the paper's lift.

        Parameters
        ----------
        eta, gamma : float
            In units of ``||A_l S_l||^-2``, as in Algorithm 1.
        task : TaskConfig, optional
            On which norms are measured; by default that of the rule, or the paper's with the
            model's sides.
        batches : int
            Of 1024 prompts each.
        seed : int
            Of the prompts on which norms are measured.

        Returns
        -------
        Rule
        """
        return self._plain()._measured(
            lambda _, norm: (eta / norm**2, gamma / norm**2), task, batches, seed
        )

    def literal(self, *, task: TaskConfig | None = None, batches: int = 16, seed: int = 0) -> Rule:
        """Algorithm 1 to the letter: one orthonormal S a layer, in both places.

        Of every sketch its range is kept, of every lift what it has of ``S S^T``; outside the
        compute-limited regime S is I.

        Parameters
        ----------
        task, batches, seed
            As in `with_constants`.

        Returns
        -------
        Rule
            With step sizes of its own in every layer.
        """
        return self._plain()._measured(
            lambda layer, _: (layer.eta_step, layer.gamma_step), task, batches, seed
        )

    def _plain(self) -> Rule:
        """Sketches orthonormal and in both places."""
        layers = []
        for layer in self.layers:
            Q = None if layer.sketch is None else np.linalg.qr(layer.sketch)[0]
            share = 1.0
            if Q is not None and layer.lift is not None:
                share = float(np.trace(Q.T @ layer.lift @ Q)) / Q.shape[1]
            S = Q if self.config.regime == "compute-limited" else None
            eta_step = share * layer.eta_step
            layers.append(LayerRule(eta_step, layer.gamma_step, layer.norm, S))
        return replace(self, layers=tuple(layers))

    def _measured(
        self,
        steps: Callable[[LayerRule, float], tuple[float, float]],
        task: TaskConfig | None,
        batches: int,
        seed: int,
    ) -> Rule:
        """The rule with other step sizes and with the norms that its own states have then."""
        task = task or self.task or task_of(self.config)
        runs = [self._start(batch) for batch in reference(task, batches, seed)]
        layers: list[LayerRule] = []
        for layer in self.layers:
            if layers:
                runs = [self._step(machines, layers[-1]) for machines in runs]
            S = layer.sketch
            norms = [max(largest_norm(sketched(one.A, S)) for one in machines) for machines in runs]
            norm = float(np.median(norms))
            eta_step, gamma_step = steps(layer, norm)
            layers.append(replace(layer, eta_step=eta_step, gamma_step=gamma_step, norm=norm))
        return replace(self, layers=tuple(layers))

    def model(self) -> LinearTransformer:
        """The transformer with ideal weights: exactly this rule, nothing off the pattern.

        Returns
        -------
        LinearTransformer
            In float64.
        """
        model = LinearTransformer(replace(self.config, heads=1)).double()
        visible, _ = self.config.machine_features
        eye = torch.eye(model.query.shape[-2], dtype=torch.float64)
        with torch.no_grad():
            for index, layer in enumerate(self.layers):
                shape = len(eye), self.config.features
                W_VP = [torch.zeros(shape, dtype=torch.float64) for _ in self._own()]
                S = torch.from_numpy(np.eye(visible) if layer.sketch is None else layer.sketch)
                model.query[index, 0, :visible, : S.shape[1]] = S
                model.key[index, 0, :visible, : S.shape[1]] = S
                lifted = eye[:visible, :visible] if self.config.lift == "full" else S @ S.mT
                if layer.lift is not None:
                    lifted = torch.from_numpy(layer.lift)
                for own, target in zip(self._own(), W_VP, strict=True):
                    target[:visible, own][:, :visible] = -layer.eta_step * lifted
                    for other in self._own():
                        hidden = target[visible:, other][:, visible:]
                        hidden -= layer.gamma_step / len(W_VP) * eye[: len(hidden), : len(hidden)]
                value, projection = _factors(torch.stack(W_VP), model.value.shape[-1], visible)
                model.value[index] = value
                model.projection[index] = projection
                if self.config.regime == "estimation":
                    model.bias[index] = eye[:visible]
        return model

    def _own(self) -> list[slice]:
        """Every machine's features of a token."""
        size = sum(self.config.machine_features)
        return [slice(start, start + size) for start in range(0, self.config.features, size)]

    def _start(self, batch: Batch) -> list[Blocks]:
        A, B, C, D = batch
        if self.config.regime == "estimation":  # C = I
            C = torch.eye(A.shape[1], dtype=A.dtype, device=A.device).expand(len(A), -1, -1)
            D = B.new_zeros(len(A), B.shape[1], A.shape[1])
        if self.config.transposed:
            return [Blocks(A.mT, C.mT, B.mT, torch.zeros_like(D).mT)]
        pieces = zip(
            A.chunk(self.config.machines, -1), B.chunk(self.config.machines, -1), strict=True
        )
        return [Blocks(own, target, C, torch.zeros_like(D)) for own, target in pieces]

    def _step(self, machines: list[Blocks], layer: LayerRule) -> list[Blocks]:
        S = layer.sketch
        sketch = None if S is None else torch.from_numpy(S).to(machines[0].A)
        lift: Any = self.config.lift
        if layer.lift is not None:
            lift = torch.from_numpy(layer.lift).to(machines[0].A)
        eta, gamma = layer.eta_step, layer.gamma_step
        return average([update(each, eta, gamma, sketch=sketch, lift=lift) for each in machines])

    def _tokens(self, machines: list[Blocks]) -> torch.Tensor:
        pieces = []
        for A, B, C, D in machines:
            if self.config.regime == "estimation":  # the identity is in the bias, not in the state
                B = B - torch.eye(B.shape[-1], dtype=B.dtype, device=B.device)
            pieces.append(torch.cat([torch.cat([A, C], -1), torch.cat([B, -D], -1)], -2))
        return torch.cat(pieces, -1)

    def formula(self) -> str:
        """The update in mathematics, a few lines."""
        return text.formula(self)

    def code(self) -> str:
        """The rule as a Python function ``rule(A, B, C)``: a module to run, or to paste."""
        return text.code(self)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "regime": self.config.regime,
            "learned": self.learned,
            "reasons": list(self.reasons),
            "eta": list(self.eta),
            "gamma": list(self.gamma),
            "norm": [layer.norm for layer in self.layers],
            "sketch": [None if S is None else S.tolist() for S in self.sketch],
            "lift": [None if each.lift is None else each.lift.tolist() for each in self.layers],
            "model_error": self.model_error,
            "rule_error": self.rule_error,
            "quantised_error": self.quantised_error,
            "distance": self.distance,
            "heads": list(self.heads),
        }

    def __str__(self) -> str:
        return text.summary(self)


def _factors(W_VP: torch.Tensor, size: int, visible: int) -> tuple[torch.Tensor, torch.Tensor]:
    """W_V (shared) and W_P of given size with product W_VP (heads, head features, features)."""
    features = W_VP.shape[1]
    if size == features:
        return torch.eye(features, dtype=W_VP.dtype), W_VP.mT
    # The visible block has low rank: its range, then the hidden features as they are.
    U, _, _ = torch.linalg.svd(W_VP[0, :visible, :visible])
    value = torch.zeros(features, size, dtype=W_VP.dtype)
    hidden = features - visible
    value[:visible, : size - hidden] = U[:, : size - hidden]
    value[visible:, size - hidden :] = torch.eye(hidden, dtype=W_VP.dtype)
    return value, (value.mT @ W_VP).mT


def sketched(A: torch.Tensor, sketch: np.ndarray | None) -> torch.Tensor:
    """A S, or A without a sketch."""
    return A if sketch is None else A @ torch.from_numpy(sketch).to(A)


def largest_norm(A: torch.Tensor) -> float:
    """Largest spectral norm of many matrices, (..., d, n)."""
    A = torch.nan_to_num(A, nan=0.0, posinf=0.0, neginf=0.0).flatten(0, -3)
    frobenius = A.square().sum((-2, -1)).sqrt()
    # A spectral norm is at most the Frobenius norm: few matrices can have the largest.
    least = 0.99 * torch.linalg.matrix_norm(A[frobenius.argmax()], 2)  # in spite of rounding
    return float(torch.linalg.matrix_norm(A[frobenius >= least], 2).max())


def reference(task: TaskConfig, batches: int, seed: int) -> list[Batch]:
    """Prompts on which norms and errors are measured."""
    check_count("batches", batches)
    generator = torch.Generator().manual_seed(seed)
    return [sample_batch(task, BATCH, generator=generator) for _ in range(batches)]


def task_of(config: ModelConfig, trained: TaskConfig | None = None) -> TaskConfig:
    """What a model was trained on, or else the paper's task with its sides; without noise."""
    if trained is not None:
        return replace(trained, noise=0.0)
    rank = min(TaskConfig.rank, config.d, config.n)
    return TaskConfig(
        d=config.d, n=config.n, d_hidden=config.d_hidden, n_hidden=config.n_hidden, rank=rank
    )
