"""Nyström attention: the formula, exact cases, masks, gradients, dtypes, and what it refuses."""

from __future__ import annotations

from itertools import pairwise

import mpmath
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

import eagle
from eagle.attention import fixed_step_pinv, nystrom_attention
from eagle.attention.nystrom import RIDGES, SAMPLE
from eagle.attention.tokens import GOLDEN
from tests.attention.data import distance, tensors
from tests.tolerances import tolerance


def smooth(tokens: int, features: int, seed: int = 0) -> list[torch.Tensor]:
    """Queries, keys and values that change little from token to token, (1, 2, tokens, features)."""
    walk = [each.cumsum(-2) / tokens**0.5 for each in tensors(1, 2, tokens, features, seed=seed)]
    return [walk[0], walk[0] + 0.3 * walk[1], walk[2]]


def segments(X: np.ndarray, landmarks: int) -> np.ndarray:
    """Means of consecutive rows, written out."""
    edges = [j * len(X) // landmarks for j in range(landmarks + 1)]
    return np.array([X[i:j].mean(axis=0) for i, j in pairwise(edges)])


def reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, landmarks: int, ridge: float
) -> tuple[torch.Tensor, float]:
    """The formula for one head, in 60 digits, and the condition number of what it solves."""

    def softmax(Q: np.ndarray, K: np.ndarray) -> mpmath.matrix:
        E = (mpmath.matrix(Q) * mpmath.matrix(K).T / mpmath.sqrt(Q.shape[1])).apply(mpmath.exp)
        return mpmath.matrix([[e / sum(row) for e in row] for row in E.tolist()])

    with mpmath.workdps(60):
        Q, K, V = query.numpy(), key.numpy(), value.numpy()
        Q_few, K_few = segments(Q, landmarks), segments(K, landmarks)
        A, F = softmax(Q_few, K_few), softmax(Q, K_few)
        Y = softmax(Q_few, K) * mpmath.matrix(V)
        G = A * A.T + ridge * mpmath.eye(landmarks)
        D = F * A.T * mpmath.inverse(G) * Y
        condition = np.linalg.cond(np.array(G.tolist(), dtype=float)) ** 0.5
        return torch.tensor(np.array(D.tolist(), dtype=float)), condition


@pytest.mark.parametrize("tokens", [24, 29])
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_equals_the_formula_in_many_digits(tokens: int, ridge: float) -> None:
    query, key, value = (2 * each for each in tensors(tokens, 3))
    output = nystrom_attention(query, key, value, landmarks=6, ridge=ridge)
    truth, condition = reference(query, key, value, 6, ridge)
    assert distance(output, truth) < tolerance(np.float64, condition)


@pytest.mark.parametrize("landmarks", [16, 20])
def test_as_many_landmarks_as_tokens_are_exact(landmarks: int) -> None:
    query, key, value = tensors(2, 3, 16, 4)
    output, result = nystrom_attention(query, key, value, landmarks=landmarks, return_result=True)
    truth = scaled_dot_product_attention(query, key, value)
    assert distance(output, truth) < tolerance(np.float64)
    assert result is None


def test_few_distinct_tokens_are_exact() -> None:
    few_queries, few_keys, _ = tensors(2, 3, 8, 4)
    query, key = (each.repeat_interleave(5, dim=-2) for each in (few_queries, few_keys))
    value = tensors(2, 3, 40, 4, seed=1)[2]
    output = nystrom_attention(query, key, value, landmarks=8, ridge=0.0)
    truth = scaled_dot_product_attention(query, key, value)
    condition = torch.linalg.cond(torch.softmax(few_queries @ few_keys.mT / 2, -1)).max()
    assert distance(output, truth) < tolerance(np.float64, float(condition))


def test_repeated_landmarks_do_no_harm() -> None:
    """Eight distinct tokens for sixteen landmarks: the kernel is singular, its answer exact."""
    query, key, value = (each.repeat_interleave(6, dim=-2) for each in tensors(2, 3, 8, 4))
    output = nystrom_attention(query, key, value, landmarks=16, ridge=0.0)
    assert distance(output, scaled_dot_product_attention(query, key, value)) < 1e-9


@given(tokens=st.integers(5, 40), landmarks=st.integers(1, 4), seed=st.integers(0, 99))
def test_rows_of_equal_values_stay_equal(tokens: int, landmarks: int, seed: int) -> None:
    """A A^+ has the vector of ones in its range, as rows of softmax sum to one."""
    query, key, _ = tensors(tokens, 3, seed=seed)
    output = nystrom_attention(
        query, key, torch.ones(tokens, 2).double(), landmarks=landmarks, ridge=0.0
    )
    assert distance(output, torch.ones_like(output)) < 1e-6


@pytest.mark.parametrize("tokens", [96, 384, 401])
def test_ridge_does_best_at_a_sample_of_the_queries(tokens: int) -> None:
    query, key, value = tensors(2, tokens, 4)
    starts = [j * tokens // SAMPLE for j in range(SAMPLE + 1)]
    picked = [
        start + int(j * GOLDEN % 1 * max(stop - start, 1))
        for j, (start, stop) in enumerate(pairwise(starts))
    ]
    truth = scaled_dot_product_attention(query, key, value)[:, picked]
    errors = []
    for ridge in RIDGES:
        output = nystrom_attention(query, key, value, landmarks=12, ridge=ridge)[:, picked]
        errors.append((output - truth).norm(dim=(1, 2)) / truth.norm(dim=(1, 2)))
    least, best = torch.stack(errors).min(dim=0)
    _, result = nystrom_attention(query, key, value, landmarks=12, return_result=True)
    assert result.ridge.tolist() == [RIDGES[i] for i in best]
    assert distance(result.approximation_error, least) < tolerance(np.float64, RIDGES[0] ** -0.5)


@pytest.mark.parametrize("ridge", ["cv", 0.0, 0.01])
@pytest.mark.parametrize("masked", [False, True])
def test_approximation_error_is_what_is_found(ridge: float | str, masked: bool) -> None:
    query, key, value = tensors(6, 600, 8)
    keep = torch.arange(600) < (500 if masked else 600)
    output, result = nystrom_attention(
        query, key, value, attn_mask=keep, landmarks=30, ridge=ridge, scale=0.1, return_result=True
    )
    truth = scaled_dot_product_attention(query, key, value, attn_mask=keep[None], scale=0.1)
    difference, truth = (output - truth)[:, keep], truth[:, keep]
    found = difference.norm(dim=(1, 2)) / truth.norm(dim=(1, 2))
    ratio = found / result.approximation_error
    assert ((ratio > 0.5) & (ratio < 2)).all()  # 128 of 600 queries


def test_ill_conditioned_landmarks_defeat_six_steps_and_not_the_solve() -> None:
    """What both approximate is the formula, here with a condition number above 1e6."""
    query, key, value = (0.3 * each for each in tensors(1, 1, 64, 4))
    truth, condition = reference(query[0, 0], key[0, 0], value[0, 0], 8, 0.0)
    output = nystrom_attention(query, key, value, landmarks=8, ridge=0.0)
    few = [torch.tensor(segments(each[0, 0].numpy(), 8)) for each in (query, key)]
    A, F, B = (
        torch.softmax(Q @ K.mT / 2, -1)
        for Q, K in ((few[0], few[1]), (query[0, 0], few[1]), (few[0], key[0, 0]))
    )
    assert condition > 1e6
    assert distance(F @ fixed_step_pinv(A) @ B @ value[0, 0], truth) > 0.1
    assert distance(output[0, 0], truth) < tolerance(np.float64, condition)
    assert distance(F @ fixed_step_pinv(A, steps=40) @ B @ value[0, 0], truth) < 1e-3


@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("data", ["smooth", "white"])
def test_validated_ridge_is_not_worse_than_six_steps(data: str, scale: float) -> None:
    """What counts is the distance from softmax attention."""
    query, key, value = smooth(512, 16) if data == "smooth" else tensors(1, 2, 512, 16)
    truth = scaled_dot_product_attention(query, key, value, scale=scale)
    output = nystrom_attention(query, key, value, landmarks=32, scale=scale)
    Q, K = (each.unflatten(-2, (32, -1)).mean(-2) for each in (query, key))
    A, F, B = (
        torch.softmax(scale * left @ right.mT, -1) for left, right in ((Q, K), (query, K), (Q, key))
    )
    six = F @ fixed_step_pinv(A) @ (B @ value)
    assert distance(output, truth) < 1.05 * distance(six, truth)


def test_one_head_does_not_harm_another() -> None:
    query, key, value = smooth(96, 4)
    alone = nystrom_attention(query[:, :1], key[:, :1], value[:, :1], landmarks=8)
    spiky = torch.cat([query[:, :1], 40 * query[:, 1:]], dim=1)
    together = nystrom_attention(spiky, key, value, landmarks=8)
    assert distance(together[:, :1], alone) < tolerance(np.float64, RIDGES[0] ** -0.5)


def test_fixed_steps_do_harm_another() -> None:
    A = torch.softmax(tensors(2, 16, 16)[0], -1)
    A[1] = torch.softmax(20 * torch.eye(16).double()[:, :1].expand(16, 16).mT, -1)  # one column
    alone, together = fixed_step_pinv(A[:1], steps=12), fixed_step_pinv(A, steps=12)
    assert distance(together[:1], alone) > 0.1


@pytest.mark.parametrize("ridge", ["cv", 0.01])
def test_padding_is_as_if_it_were_not_there(ridge: float | str) -> None:
    query, key, value = smooth(60, 4)
    query, key, value = (each.reshape(2, 1, 60, 4) for each in (query, key, value))
    keep = torch.ones(2, 1, 1, 60, dtype=torch.bool)
    keep[0, ..., 45:] = False
    keep[1, ..., ::7] = False
    junk = [torch.where(keep.mT, each, 1e3) for each in (query, key, value)]
    output = nystrom_attention(*junk, attn_mask=keep, landmarks=6, ridge=ridge)
    for i in range(2):
        seen = keep[i, 0, 0]
        short = [each[i, :, seen] for each in (query, key, value)]
        truth = nystrom_attention(*short, landmarks=6, ridge=ridge)
        assert distance(output[i, :, seen], truth) < tolerance(np.float64, RIDGES[0] ** -0.5)


def test_fewer_tokens_than_landmarks_under_a_mask_are_exact() -> None:
    query, key, value = (2 * each for each in tensors(3, 2, 40, 4))
    keep = torch.arange(40) < torch.tensor([5, 8, 40])[:, None, None, None]
    output = nystrom_attention(query, key, value, attn_mask=keep, landmarks=12, ridge=0.0)
    truth = scaled_dot_product_attention(query, key, value, attn_mask=keep)
    assert distance(output[0, :, :5], truth[0, :, :5]) < 1e-9
    assert distance(output[1, :, :8], truth[1, :, :8]) < 1e-9


def test_exact_attention_knows_the_mask_too() -> None:
    query, key, value = tensors(2, 3, 10, 4)
    keep = torch.arange(10) < 6
    output = nystrom_attention(query, key, value, attn_mask=keep, landmarks=10)
    truth = scaled_dot_product_attention(query, key, value, attn_mask=keep[None])
    assert distance(output, truth) < tolerance(np.float64)


@pytest.mark.parametrize("tokens", [12, 14])
@pytest.mark.parametrize("ridge", [0.0, 0.01, "cv"])
def test_gradients(tokens: int, ridge: float | str) -> None:
    inputs = [(3 * each).requires_grad_() for each in tensors(1, 2, tokens, 2, seed=3)]
    keep = torch.arange(tokens) < tokens - 1

    def attend(*blocks: torch.Tensor) -> torch.Tensor:
        return nystrom_attention(*blocks, attn_mask=keep, landmarks=3, ridge=ridge)

    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("ridge", [1e-2, "cv"])
@pytest.mark.parametrize("masked", [False, True])
def test_whether_anybody_differentiates_changes_nothing(masked: bool, ridge: float | str) -> None:
    """Weights with all tokens are written out only for a gradient."""
    blocks = smooth(60, 5)
    mask = torch.arange(60) < 47 if masked else None
    for landmarks in (8, 60):
        output = nystrom_attention(*blocks, attn_mask=mask, landmarks=landmarks, ridge=ridge)
        followed = nystrom_attention(
            *(block.clone().requires_grad_() for block in blocks),
            attn_mask=mask,
            landmarks=landmarks,
            ridge=ridge,
        )
        assert followed.requires_grad
        assert distance(output, followed) <= tolerance(float, 100)


def test_gradients_have_gradients() -> None:
    blocks = [block.requires_grad_() for block in smooth(12, 3)]
    assert torch.autograd.gradgradcheck(
        lambda *blocks: nystrom_attention(*blocks, landmarks=4, ridge=0.1), blocks, fast_mode=True
    )


def test_gradients_of_a_singular_kernel() -> None:
    """Tokens that come in pairs make landmarks that do."""
    inputs = [each.requires_grad_() for each in tensors(4, 2, seed=1)]

    def attend(*blocks: torch.Tensor) -> torch.Tensor:
        query, key, value = (each.repeat_interleave(4, dim=-2) for each in blocks)
        return nystrom_attention(query, key, value, landmarks=8, ridge=0.0)

    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_shape_are_kept(dtype: torch.dtype) -> None:
    query, key, value = smooth(50, 6)
    truth = nystrom_attention(query, key, value[..., :3], landmarks=7)
    blocks = (query.to(dtype), key.to(dtype), value[..., :3].to(dtype))
    output, result = nystrom_attention(*blocks, landmarks=7, return_result=True)
    assert output.dtype == dtype
    assert output.shape == (1, 2, 50, 3)
    assert result.results.shape == (1, 2)
    assert distance(output.double(), truth) < 50 * torch.finfo(dtype).eps


@pytest.mark.parametrize("shape", [(40, 5), (3, 40, 5), (2, 3, 40, 5), (2, 1, 3, 40, 5)])
def test_leading_dimensions(shape: tuple[int, ...]) -> None:
    query, key, value = tensors(*shape)
    output = nystrom_attention(query, key, value, landmarks=8)
    assert output.shape == shape
    for index in np.ndindex(shape[:-2]):
        single = nystrom_attention(query[index], key[index], value[index], landmarks=8)
        assert distance(output[index], single) < tolerance(np.float64, RIDGES[0] ** -0.5)


def test_leading_dimensions_broadcast_and_lengths_differ() -> None:
    query, key, value = tensors(2, 3, 40, 5)
    output = nystrom_attention(query, key[:1, :, :23], value[:, :1, :23], landmarks=8)
    spread = [each.expand(2, 3, 23, 5) for each in (key[:1, :, :23], value[:, :1, :23])]
    truth = nystrom_attention(query, *spread, landmarks=8)
    assert output.shape == (2, 3, 40, 5)
    assert distance(output, truth) < tolerance(np.float64, RIDGES[0] ** -0.5)


def test_autocast_changes_nothing_inside() -> None:
    query, key, value = (each.to(torch.bfloat16) for each in smooth(64, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = nystrom_attention(query, key, value, landmarks=8)
    assert torch.equal(output, nystrom_attention(query, key, value, landmarks=8))


def test_equal_inputs_have_equal_outputs_and_stay_as_they_are() -> None:
    query, key, value = tensors(2, 2, 50, 4, dtype=torch.float32)
    copies = [each.clone() for each in (query, key, value)]
    first = nystrom_attention(query, key, value, landmarks=8)
    assert torch.equal(first, nystrom_attention(query, key, value, landmarks=8))
    assert all(map(torch.equal, copies, (query, key, value)))


@pytest.mark.parametrize("scale", [0.05, 0.5, 5.0])
def test_certificate_is_honest(scale: float) -> None:
    query, key, value = tensors(6, 64, 4)
    _, result = nystrom_attention(
        query, key, value, landmarks=8, ridge=1e-6, scale=scale, return_result=True
    )
    Q, K = (each.unflatten(-2, (8, -1)).mean(-2) for each in (query, key))
    A = torch.softmax(scale * Q @ K.mT, -1)
    Y = torch.softmax(scale * Q @ key.mT, -1) @ value
    for one, a, y in zip(result.results, A, Y, strict=True):
        with mpmath.workdps(60):
            M, N = mpmath.matrix(a.numpy()), mpmath.matrix(y.numpy())
            G = M * M.T + mpmath.mpf(1e-6) * mpmath.eye(8)
            below = mpmath.inverse(G) * N
            halves = [*(M.T * below).tolist(), *(mpmath.sqrt(1e-6) * below).tolist()]
            truth = torch.tensor(np.array(halves, dtype=float))
        value_here = torch.as_tensor(one.value)
        assert one.converged
        # A itself is known up to rounding, which the certificate does not see.
        floor = tolerance(np.float64, 1e3)
        assert distance(value_here, truth) < 10 * one.error_estimate + floor


def test_options_reach_the_solve() -> None:
    query, key, value = tensors(2, 64, 4)
    _, result = nystrom_attention(
        query, key, value, landmarks=8, ridge=0.0, method="direct", rank=3, return_result=True
    )
    assert isinstance(result.method, eagle.Direct)
    assert result.rank == 3
    with pytest.warns(eagle.ConvergenceWarning):
        nystrom_attention(query, key, value, landmarks=8, ridge=0.0, method="gd", maxiter=2)


Q, K, V = tensors(2, 3, 20, 4)
MASK = torch.ones(20, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((Q.numpy(), K, V), {}, TypeError, "query must be a torch.Tensor, got ndarray"),
        ((Q, K, V.long()), {}, TypeError, "value must be floating, got torch.int64"),
        ((Q, K.float(), V), {}, TypeError, "query and key must have one dtype"),
        ((Q, K, V.to("meta")), {}, TypeError, "query and value must have one device"),
        ((Q[0, 0, 0], K, V), {}, ValueError, "query must be .* shape"),
        ((Q[..., :0, :], K, V), {}, ValueError, "query must be .* with some of each"),
        ((Q[..., :3], K, V), {}, ValueError, "key with shape .* as many features"),
        ((Q, K, V[..., :5, :]), {}, ValueError, "value with shape .* as many tokens"),
        ((Q, K, V[:, :2]), {}, ValueError, "leading dimensions .* do not broadcast"),
        ((Q, K, V), {"is_causal": True}, ValueError, "is_causal must be False"),
        ((Q, K, V), {"dropout_p": 0.1}, ValueError, "dropout_p must be 0"),
        ((Q, K, V), {"landmarks": 0}, ValueError, "landmarks must be at least 1"),
        ((Q, K, V), {"landmarks": 2.5}, TypeError, "landmarks must be an integer"),
        ((Q, K, V), {"ridge": -1.0}, ValueError, "ridge must be finite, at least 0"),
        ((Q, K, V), {"ridge": "best"}, ValueError, "ridge must be a number or 'cv'"),
        ((Q, K, V), {"rank": 3}, ValueError, "give ridge=0 with rank"),
        ((Q, K, V), {"cutoff": 0.1}, ValueError, "give ridge=0 with cutoff"),
        ((Q, K, V), {"steps": 6}, TypeError, "unexpected keyword argument 'steps'"),
        ((Q, K, V), {"attn_mask": MASK.long()}, TypeError, "attn_mask must be a boolean"),
        ((Q, K, V), {"attn_mask": MASK.double()}, ValueError, "attn_mask must add 0 to logits or"),
        ((Q, K, V), {"attn_mask": MASK[:7]}, ValueError, r"attn_mask must be \(\.\.\., 1, 20\)"),
        ((Q, K, V), {"attn_mask": MASK.expand(20, 20).tril()}, ValueError, "same for every query"),
        ((Q, K, V), {"attn_mask": ~MASK}, ValueError, "attn_mask leaves no key"),
        ((Q, K, V), {"attn_mask": MASK.expand(5, 1, 1, 20)}, ValueError, "do not broadcast"),
        ((Q * torch.nan, K, V), {}, ValueError, "query or key contains NaN"),
        ((Q, K, V / 0), {}, ValueError, "value or key contains NaN"),
        ((Q * torch.nan, K, V), {"landmarks": 20}, ValueError, "query, key or value contains NaN"),
    ],
)
def test_what_cannot_be_done_is_refused(
    arguments: tuple, options: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        nystrom_attention(*arguments, **{"landmarks": 4, **options})


@pytest.mark.parametrize("hidden", [-torch.inf, torch.finfo(torch.float32).min, -1e4])
@pytest.mark.parametrize("expanded", [False, True])
def test_masks_as_other_libraries_have_them(hidden: float, expanded: bool) -> None:
    query, key, value = (each.float() for each in smooth(60, 4))
    keep = torch.arange(60)[None, None, None] < 47
    truth = nystrom_attention(query, key, value, attn_mask=keep, landmarks=6)
    added = torch.where(keep, 0.0, hidden)
    for mask in (keep, added):
        given = mask.expand(1, 1, 60, 60) if expanded else mask
        for each in (given, given.clone()):
            output = nystrom_attention(query, key, value, attn_mask=each, landmarks=6)
            assert torch.equal(output, truth)
