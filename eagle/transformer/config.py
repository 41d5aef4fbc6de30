"""What to train, on what, and how: three frozen records, refused at construction if impossible."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from eagle.problem.options import check_count, check_number
from eagle.update import LIFTS

REGIMES = ("unconstrained", "compute-limited", "distributed", "estimation")
FAMILIES = ("block", "scalar", "kernel", "mixture", "condition", "asymmetric")
SPECTRA = ("deviation", "variance")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


@dataclass(frozen=True)
class TaskConfig:
    """Which masked blocks are drawn.

    Parameters
    ----------
    family : str
        ``"block"``: ``X = R1 R2^T / sqrt(s)`` as in the paper. ``"scalar"``: least-squares
        prediction, one target row and one query column, padded with zeros to the shape of the
        others. ``"kernel"``: slices of a kernel of rank s on random landmarks. ``"mixture"``: the
        three, never told apart. ``"condition"``: A of rank s with prescribed condition number.
        ``"asymmetric"``: correlated columns and rows of unequal size.
    d, n, d_hidden, n_hidden : int
        Sides of ``X = [[A, C], [B, D]]``: A (d, n), D (d_hidden, n_hidden).
    rank : int
        s, the rank of X.
    decay : float
        alpha, in (0, 1].
    spectrum : {"variance", "deviation"}
        What ``alpha^i`` is of the i-th column of R1 and of R2, i = 1..s. The paper writes the
        first, ``Sigma_ii = alpha^i`` being variances; its numbers are those of the second.
    noise : float
        Variance of Gaussian noise on X; the paper's is 0 or 0.01.
    condition : float
        Of A, family ``"condition"`` only.

    Raises
    ------
    ValueError, TypeError
        A parameter that no X can have.

    Examples
    --------
    >>> from eagle.transformer import TaskConfig
    >>> TaskConfig().rank
    10
    """

    family: str = "block"
    d: int = 18
    n: int = 18
    d_hidden: int = 2
    n_hidden: int = 2
    rank: int = 10
    decay: float = 0.7
    spectrum: str = "deviation"
    noise: float = 0.0
    condition: float = 1e6

    def __post_init__(self) -> None:
        _check_choice("family", self.family, FAMILIES)
        _check_choice("spectrum", self.spectrum, SPECTRA)
        for name in ("d", "n", "d_hidden", "n_hidden", "rank"):
            check_count(name, getattr(self, name))
        if self.rank > min(self.d, self.n):
            raise ValueError(
                f"rank must be at most min(d, n) = {min(self.d, self.n)} for rank X = rank A, "
                f"got {self.rank}"
            )
        if not 0 < check_number("decay", self.decay) <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay!r}")
        check_number("noise", self.noise)
        check_number("condition", self.condition, minimum=1.0)


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a linear transformer and the resource constraint it lives under.

    Parameters
    ----------
    regime : str
        ``"unconstrained"``: full embedding. ``"compute-limited"``: queries and keys of dimension
        ``rank``, values of dimension ``rank`` + hidden features. ``"distributed"``: one head per
        machine that sees the columns of its own block of A and a copy of C and D; queries, keys
        and values share one set of weights. ``"estimation"``: no C in the prompt, query biases
        stand for ``C = I``.
    d, n, d_hidden, n_hidden : int
        Sides of ``[[A, C], [B, D]]``.
    layers : int
        Depth.
    heads : int
        Heads of the unconstrained, compute-limited and estimation models.
    rank : int
        r, compute-limited only.
    machines : int
        M, distributed only.
    lift : {"paper", "full"}
        Compute-limited only. ``"full"``: values and projections of full dimension, as the lift
        of `eagle.Sketched` needs.
    deviation : float
        Of the initial weights, Gaussian.

    Raises
    ------
    ValueError, TypeError
        ``rank`` above the token's size, blocks that do not divide, an unknown regime.

    Examples
    --------
    >>> from eagle.transformer import ModelConfig
    >>> ModelConfig("distributed", machines=3).features
    24
    >>> ModelConfig("distributed", machines=4)
    Traceback (most recent call last):
        ...
    ValueError: machines must divide n = 18, got 4
    """

    regime: str = "unconstrained"
    d: int = 18
    n: int = 18
    d_hidden: int = 2
    n_hidden: int = 2
    layers: int = 4
    heads: int = 1
    rank: int = 5
    machines: int = 3
    lift: str = "paper"
    deviation: float = 0.067

    def __post_init__(self) -> None:
        _check_choice("regime", self.regime, REGIMES)
        _check_choice("lift", self.lift, LIFTS)
        names = ("d", "n", "d_hidden", "n_hidden", "layers", "heads", "rank", "machines")
        for name in names:
            check_count(name, getattr(self, name))
        check_number("deviation", self.deviation, positive=True)
        if self.regime == "compute-limited" and self.rank > self.d:
            raise ValueError(f"rank must be at most d = {self.d}, got {self.rank}")
        if self.regime == "distributed":
            if self.n % self.machines:
                raise ValueError(f"machines must divide n = {self.n}, got {self.machines}")
            if self.heads != 1:
                raise ValueError(
                    f"heads must be 1 in the distributed regime, which has one head per machine, "
                    f"got {self.heads}"
                )
        if self.lift == "full" and self.regime != "compute-limited":
            raise ValueError(f"lift must be 'paper' in the {self.regime} regime, got 'full'")

    @property
    def transposed(self) -> bool:
        """Whether tokens are columns of the block picture; in the distributed regime, rows."""
        return self.regime != "distributed"

    @property
    def complete(self) -> int:
        """Tokens that are fully visible, the only keys."""
        return self.n if self.transposed else self.d

    @property
    def incomplete(self) -> int:
        """Tokens with a hidden part, the queries whose answer is wanted."""
        if self.regime == "estimation":
            return self.d
        return self.n_hidden if self.transposed else self.d_hidden

    @property
    def machine_features(self) -> tuple[int, int]:
        """Visible and hidden features that one head sees of a token."""
        if self.transposed:
            return self.d, self.d_hidden
        return self.n // self.machines, self.n_hidden

    @property
    def features(self) -> int:
        """Length of a token."""
        return sum(self.machine_features) * (1 if self.transposed else self.machines)


@dataclass(frozen=True)
class TrainConfig:
    """A training run: the paper's recipe unless said otherwise.

    Parameters
    ----------
    model : ModelConfig
        What is trained.
    task : TaskConfig
        What it is trained on; its sides must be the model's.
    steps, batch : int
        Fresh prompts at every step.
    learning_rate : float
        Of Adam.
    cooldown : float
        Part of the run at its end in which the rate falls linearly to zero; 0 is the paper's
        constant rate.
    clip : float
        Largest norm of the gradient.
    seed : int
        Of the weights and of the data.
    log_every, test_every : int
        Steps between lines of the log, and between tests (and checkpoints).
    test_batches : int
        Batches of the test, drawn from a seed of their own; their median counts.

    Raises
    ------
    ValueError, TypeError
        A setting that cannot be trained with.

    Examples
    --------
    >>> from eagle.transformer import TrainConfig
    >>> config = TrainConfig.paper("distributed", seed=1)
    >>> config.model.deviation, TrainConfig.from_dict(config.to_dict()) == config
    (0.1, True)
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    steps: int = 20_000
    batch: int = 1024
    learning_rate: float = 1e-3
    cooldown: float = 0.0
    clip: float = 0.1
    seed: int = 0
    log_every: int = 100
    test_every: int = 1000
    test_batches: int = 16

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "test_every", "test_batches"):
            check_count(name, getattr(self, name))
        check_number("learning_rate", self.learning_rate, positive=True)
        check_number("clip", self.clip, positive=True)
        check_number("cooldown", self.cooldown, below=1.0)
        check_count("seed", self.seed, minimum=0)
        for name in ("d", "n", "d_hidden", "n_hidden"):
            ours, theirs = getattr(self.model, name), getattr(self.task, name)
            if ours != theirs:
                raise ValueError(f"{name} must agree: {ours} in model, {theirs} in task")

    @classmethod
    def paper(
        cls,
        regime: str = "unconstrained",
        *,
        seed: int = 0,
        noise: float = 0.0,
        spectrum: str = TaskConfig.spectrum,
        **changes: Any,
    ) -> TrainConfig:
        """The recipe of the paper, section 3, for one regime.

        Parameters
        ----------
        regime : str
            See `ModelConfig`.
        seed : int
            See `TrainConfig`.
        noise, spectrum : float, str
            See `TaskConfig`.
        **changes
            Other fields of `TrainConfig`.

        Returns
        -------
        TrainConfig
        """
        deviation = {"distributed": 0.1}.get(regime, 0.067)
        model = ModelConfig(regime, deviation=deviation)
        task = TaskConfig(noise=noise, spectrum=spectrum)
        return cls(model=model, task=task, seed=seed, **changes)

    def to_dict(self) -> dict[str, Any]:
        """As nested dictionaries of plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`.

        Parameters
        ----------
        values : dict
            Nested dictionaries.

        Returns
        -------
        TrainConfig

        Raises
        ------
        ValueError
            Unknown or impossible settings.
        """
        try:
            rest = dict(values)
            # Runs older than the choice were trained on variances.
            task = TaskConfig(**({"spectrum": "variance"} | rest.pop("task")))
            model = ModelConfig(**rest.pop("model"))
            return cls(model=model, task=task, **rest)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a training configuration: {error}") from error
