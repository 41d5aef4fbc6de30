"""The linear transformer: attention without softmax, a fixed mask, a residual, and nothing else.

Tokens are rows of a state Z. The first tokens are complete, ``[A', C']``, the last incomplete,
``[B', D']`` with D' hidden: zero at first. In the distributed regime the tokens are the rows of the
block picture, ``A' = A``; in the others they are its columns, ``A' = A^T, B' = C^T, C' = B^T``.
Only complete tokens are keys, so with ``K`` the complete tokens a layer is::

    Z <- Z + sum_h  Z W_QK K^T K W_VP,     W_QK = W_Q W_K^T,  W_VP = W_V W_P^T

Attention adds one and the same term to C' and D'. A layer that contracts C' drives D' to *minus*
the hidden block, so that is where the prediction is read.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from eagle.transformer.config import ModelConfig, TaskConfig
from eagle.transformer.data import Batch


class LinearTransformer(nn.Module):
    """A stack of linear attention layers under the resource constraint of one regime.

    Parameters
    ----------
    config : ModelConfig
        Shape and regime.
    generator : torch.Generator, optional
        Of the initial weights. Zero weights without one, to be loaded or set.

    Attributes
    ----------
    query, key : Parameter (layers, heads, head features, r)
        ``W_Q`` and ``W_K``; one head's worth, shared, in the distributed regime.
    value : Parameter (layers, heads, head features, v)
        ``W_V``; shared likewise.
    projection : Parameter (layers, heads, features, v)
        ``W_P``.
    bias : Parameter (layers, incomplete tokens, r)
        Of the queries of incomplete tokens, estimation regime only.
    task : TaskConfig or None
        What it was trained on, where that is known.

    Examples
    --------
    >>> import torch
    >>> from eagle.transformer import LinearTransformer, ModelConfig, TaskConfig, sample_batch
    >>> model = LinearTransformer(ModelConfig(), torch.Generator().manual_seed(0))
    >>> model.predict(sample_batch(TaskConfig(), 5, seed=1)).shape
    torch.Size([5, 2, 2])
    """

    own: torch.Tensor  # (features, features), distributed only: 1 inside the machines' blocks

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.task: TaskConfig | None = None
        visible, hidden = config.machine_features
        seen = visible + hidden  # features that one head sees
        limited = config.regime == "compute-limited"
        r = config.rank if limited else seen
        v = config.rank + hidden if limited and config.lift == "paper" else seen
        shared = config.heads
        heads = config.machines if config.regime == "distributed" else config.heads

        def weights(*shape: int) -> nn.Parameter:
            if generator is None:
                return nn.Parameter(torch.zeros(config.layers, *shape))
            device = generator.device
            start = torch.randn(config.layers, *shape, generator=generator, device=device)
            return nn.Parameter(config.deviation * start)

        self.query = weights(shared, seen, r)
        self.key = weights(shared, seen, r)
        self.value = weights(shared, seen, v)
        self.projection = weights(heads, config.features, v)
        if config.regime == "estimation":
            self.bias = weights(config.incomplete, r)
        if config.regime == "distributed":  # what one machine's keys and values may multiply
            blocks = torch.block_diag(*torch.ones(config.machines, seen, seen))
            self.register_buffer("own", blocks, persistent=False)

    @property
    def W_QK(self) -> torch.Tensor:
        """``W_Q W_K^T`` per layer and head, (layers, heads, head features, head features)."""
        return self.query @ self.key.mT

    @property
    def W_VP(self) -> torch.Tensor:
        """``W_V W_P^T`` per layer and head, (layers, heads, head features, features)."""
        return self.value @ self.projection.mT

    def prompt(self, batch: Batch) -> torch.Tensor:
        """The state before the first layer, what is hidden being zero.

        Parameters
        ----------
        batch : Batch
            Blocks; D is not read, nor is C in the estimation regime.

        Returns
        -------
        Tensor (batch, tokens, features)
        """
        A, B, C, D = batch
        hidden = torch.zeros_like(D)
        if self.config.regime == "estimation":
            C = A.new_zeros(len(A), self.config.d, self.config.d)
            hidden = A.new_zeros(len(A), self.config.d_hidden, self.config.d)
        if self.config.transposed:
            X = torch.cat([torch.cat([A, B], -2), torch.cat([C, hidden], -2)], -1)
            return X.mT.contiguous()
        pieces: list[torch.Tensor] = []
        for own in torch.cat([A, B], -2).chunk(self.config.machines, -1):
            pieces += [own, torch.cat([C, hidden], -2)]  # every machine has a copy of C and D
        return torch.cat(pieces, -1)

    def memory(self, index: int, complete: torch.Tensor) -> torch.Tensor:
        """What one layer keeps of its keys and values, ``K^T K W_VP``.

        Parameters
        ----------
        index : int
            Which layer.
        complete : Tensor (batch, complete tokens, features)
            The only keys, K.

        Returns
        -------
        Tensor (batch, heads * features, features)
        """
        W_VP = self.value[index] @ self.projection[index].mT  # (heads, head features, features)
        gram = complete.mT @ complete  # (batch, features, features)
        if self.config.regime == "distributed":  # a head's keys and values are its own machine's
            return nn.functional.linear(gram * self.own, W_VP.flatten(0, 1).mT)
        if len(W_VP) == 1:
            return nn.functional.linear(gram, W_VP[0].mT)
        return (gram.unsqueeze(1) @ W_VP).flatten(1, 2)

    def ask(
        self, index: int, Z: torch.Tensor, memory: torch.Tensor, *, incomplete: bool
    ) -> torch.Tensor:
        """Some tokens after one layer, ``Z + Z W_QK K^T K W_VP``.

        Parameters
        ----------
        index : int
            Which layer.
        Z : Tensor (batch, tokens, features)
            All of the complete tokens, or all of the incomplete ones.
        memory : Tensor (batch, heads * features, features)
            Of the complete tokens, from `memory`.
        incomplete : bool
            Which of the two; incomplete tokens have a bias in the estimation regime.

        Returns
        -------
        Tensor (batch, tokens, features)
        """
        W_QK = self.query[index] @ self.key[index].mT  # (heads, head features, head features)
        if self.config.regime == "distributed":
            W_QK = torch.block_diag(*W_QK.expand(self.config.machines, -1, -1)).unsqueeze(0)
        queries = nn.functional.linear(
            Z, W_QK.mT.flatten(0, 1)
        )  # (batch, tokens, heads * features)
        if incomplete and self.config.regime == "estimation":
            queries = queries + (self.bias[index] @ self.key[index].mT).transpose(0, 1).flatten(1)
        return torch.baddbmm(Z, queries, memory)

    def states(self, Z: torch.Tensor) -> Iterator[torch.Tensor]:
        """Every state from the prompt to the output, ``layers + 1`` in all.

        Parameters
        ----------
        Z : Tensor (batch, tokens, features)
            The prompt.

        Yields
        ------
        Tensor (batch, tokens, features)
        """
        yield Z
        complete, incomplete = self._split(Z)
        for index in range(self.config.layers):
            memory = self.memory(index, complete)
            complete = self.ask(index, complete, memory, incomplete=False)
            incomplete = self.ask(index, incomplete, memory, incomplete=True)
            yield torch.cat([complete, incomplete], 1)

    def forward(self, Z: torch.Tensor) -> torch.Tensor:
        """The prediction from a prompt; the last layer is spared the complete tokens.

        Parameters
        ----------
        Z : Tensor (batch, tokens, features)
            The prompt.

        Returns
        -------
        Tensor (batch, d', n')
            D, or in the estimation regime W of shape (batch, d', d).
        """
        complete, incomplete = self._split(Z)
        for index in range(self.config.layers):
            memory = self.memory(index, complete)
            incomplete = self.ask(index, incomplete, memory, incomplete=True)
            if index + 1 < self.config.layers:
                complete = self.ask(index, complete, memory, incomplete=False)
        return self.read(incomplete)

    def _split(self, Z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        complete, incomplete = Z.split([self.config.complete, self.config.incomplete], 1)
        return complete.contiguous(), incomplete.contiguous()

    def read(self, Z: torch.Tensor) -> torch.Tensor:
        """The prediction in a state, or in its incomplete tokens alone.

        Parameters
        ----------
        Z : Tensor (batch, tokens, features)
            A state.

        Returns
        -------
        Tensor (batch, d', n')
            Minus the hidden block, the mean over the machines' copies.
        """
        visible, hidden = self.config.machine_features
        copies = Z[:, -self.config.incomplete :].unflatten(-1, (-1, visible + hidden))
        D = -copies[..., visible:].mean(2)
        return D.mT if self.config.transposed else D

    def predict(self, batch: Batch) -> torch.Tensor:
        """The hidden block of every prompt.

        Parameters
        ----------
        batch : Batch
            Blocks; D is not read.

        Returns
        -------
        Tensor (batch, d', n')
            In the estimation regime ``W C``.
        """
        return self._answer(self(self.prompt(batch)), batch)

    def prediction(self, Z: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The hidden block of every prompt, as a state after the last layer has it.

        Parameters
        ----------
        Z : Tensor (batch, tokens, features)
            The state: of the model, or of what is compared with it.
        batch : Batch
            Its prompts.

        Returns
        -------
        Tensor (batch, d', n')
            As `predict`.
        """
        return self._answer(self.read(Z), batch)

    def _answer(self, value: torch.Tensor, batch: Batch) -> torch.Tensor:
        return value @ batch.C if self.config.regime == "estimation" else value
