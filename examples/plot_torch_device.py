"""
On any device, with gradients
=============================

`eagle.solve` takes torch tensors, on the CPU or a GPU, solves whole batches and is differentiable:
by a formula, not through its iterations, so that memory does not grow with them, and also where
matrices are rank-deficient and a gradient through an SVD is NaN.

You learn how to solve a batch, read its certificate matrix by matrix, and train a network one layer
of which is a least-squares solve. The same script runs on whatever there is.
"""

# %%
# A batch of small problems
# -------------------------
#
# 200 problems of 24 x 24, half of them of rank 12. Every matrix has its own scale, stopping and
# status.

import sys

import matplotlib.pyplot as plt
import torch

import eagle

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
print(f"device: {device}")


def factors(*shape):
    """Random entries on the device."""
    return torch.randn(*shape, dtype=torch.float64, device=device)


ranks = torch.where(torch.arange(200) % 2 == 0, 24, 12)
X = (
    factors(200, 26, 24)
    * (torch.arange(24) < ranks[:, None, None]).to(device)
    @ factors(200, 24, 28)
)
A, B, C, D = X[:, :24, :24], X[:, 24:, :24], X[:, :24, 24:], X[:, 24:, 24:]
result = eagle.solve(A, B, C, rng=0)
errors = (result.value - D).flatten(1).norm(dim=1) / D.flatten(1).norm(dim=1)
found = [each.rank for each in result.results]
print(f"{len(found)} problems on {result.value.device}: {result.status.name}")
print(f"ranks found: {sorted(set(found))}, all right: {found == ranks.tolist()}")
print(f"largest error {errors.max():.0e}, largest estimate {result.error_estimate:.0e}")

# %%
# A gradient where an SVD has none
# --------------------------------
#
# A projection has singular values that are equal. Differentiating its pseudo-inverse by way of an
# SVD divides by their differences; the formula for constant rank does not.


def by_svd(A):
    """The pseudo-inverse from singular values and vectors."""
    U, s, Vh = torch.linalg.svd(A)
    return Vh.mT @ torch.diag(torch.where(s > 1e-12, 1 / s, 0.0)) @ U.mT


def gradient(function):
    """Of the sum of the squares of a function of the projection."""
    A = projection.clone().requires_grad_()
    function(A).square().sum().backward()
    return A.grad


projection = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64, device=device))
identity = torch.eye(4, dtype=torch.float64, device=device)
through_svd = gradient(by_svd)
by_formula = gradient(lambda A: eagle.solve(A, identity, identity, rng=0).value)
exact = -2 * projection  # of the sum of 1 / s^2, for both singular values s = 1
print(f"through an SVD: {through_svd.isnan().sum()} of 16 entries are NaN")
print(f"by formula: {by_formula.isnan().sum()}, error {(by_formula - exact).norm():.0e}")

# %%
# A network that ends in least squares
# ------------------------------------
#
# A task is a sine curve of unknown height and phase, seen at eight points. Features of a small
# network, then the least-squares fit of minimum norm through those points: ``B A^+ C`` with the
# features of the points (A), those of other points (B) and the values seen (C). Training makes the
# features such that what is predicted between and beyond the points is right, for any such task.

POINTS, TASKS, STEPS = 8, 24, 150


def tasks(count):
    """Places (count, points, 1) on a jittered grid, queries (count, 40, 1), and their values."""
    height = 0.5 + 1.5 * torch.rand(count, 1, 1)
    phase = 2 * torch.pi * torch.rand(count, 1, 1)
    cells = torch.arange(POINTS)[:, None] + 0.2 + 0.6 * torch.rand(count, POINTS, 1)
    places, queries = (
        6 * cells / POINTS - 4,
        torch.linspace(-5, 5, 40)[:, None].expand(count, 40, 1),
    )
    blocks = (
        places,
        height * torch.sin(places + phase),
        queries,
        height * torch.sin(queries + phase),
    )
    return [each.double().to(device) for each in blocks]


network = torch.nn.Sequential(
    torch.nn.Linear(1, 40), torch.nn.Tanh(), torch.nn.Linear(40, 40), torch.nn.Tanh()
).to(device, torch.float64)


def predict(places, values, queries):
    """The least-squares layer, and what it says of itself."""
    solved = eagle.solve(network(places), network(queries), values, rng=0)
    return solved.value, solved


fresh = tasks(100)
with torch.no_grad():
    untrained, _ = predict(*fresh[:3])
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
losses = []
for _ in range(STEPS):
    *given, wanted = tasks(TASKS)
    predicted, _ = predict(*given)
    loss = (predicted - wanted).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
with torch.no_grad():
    trained, solved = predict(*fresh[:3])


def error(predicted):
    """Relative error on tasks that training has not seen."""
    return float((predicted - fresh[3]).norm() / fresh[3].norm())


print(f"error on new tasks: untrained {error(untrained):.2f}, trained {error(trained):.2f}")
print(f"certificate of the layer: {solved.status.name}, error {solved.error_estimate:.0e}")

# %%
# The picture
# -----------

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10.5, 4), layout="constrained", width_ratios=(3, 2)
)
places, values, queries, truth = (each[0, :, 0].cpu() for each in fresh)
left.plot(queries, truth, color="0.75", linewidth=5, label="truth")
left.plot(queries, untrained[0, :, 0].cpu(), color="#D55E00", linestyle="--", label="untrained")
left.plot(queries, trained[0, :, 0].cpu(), color="#0072B2", linewidth=2, label="trained")
left.plot(places, values, "ko", markersize=6, label="seen")
left.set(title="A new task, from eight points", ylim=(-2.6, 2.6), xlabel="x", ylabel="y")
left.legend(frameon=False, ncols=4, loc="upper center")
right.plot(losses, color="#0072B2")
right.set(yscale="log", xlabel="step", ylabel="squared error", title="Gradients through the solve")
right.grid(color="0.92")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()
