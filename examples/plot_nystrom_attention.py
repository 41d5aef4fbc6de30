"""
Nyström attention in a small transformer
========================================

Attention compares every token with every other one. With a few landmarks the cost is linear in the
number of tokens. In the middle of the formula stands a pseudo-inverse, for which Nyströmformer
takes six steps of an iteration, and `eagle.attention.nystrom_attention` a certified solve with a
ridge that every head chooses for itself.

You learn how to put it into a model that was trained with exact attention, what that costs in
accuracy, and why the plain pseudo-inverse is *not* what you want there.
"""

# %%
# A transformer that reads digits
# -------------------------------
#
# The 64 pixels of a digit are 64 tokens; a layer with four heads and the mean of all tokens say
# which digit it is. It is trained with exact attention, `scaled_dot_product_attention`.

import sys
from functools import partial

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

from eagle.attention import fixed_step_pinv, nystrom_attention

torch.manual_seed(0)
torch.set_num_threads(1)
WIDTH, HEADS, LAYERS, STEPS = 32, 4, 1, 500

digits = load_digits()
pixels = torch.tensor(digits.data / 8 - 1, dtype=torch.float32)[:, :, None]
labels = torch.tensor(digits.target)
train, test = torch.arange(1400), torch.arange(1400, 1797)


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to its input."""

    def __init__(self):
        super().__init__()
        self.norm, self.norm_again = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project, self.merge = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, attend):
        blocks = self.project(self.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.merge(attend(*blocks).transpose(1, 2).flatten(2))
        return x + self.narrow(gelu(self.widen(self.norm_again(x))))


class Reader(nn.Module):
    """From pixels (batch, 64, 1) to scores (batch, 10), with any kind of attention."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(1, WIDTH)
        self.position = nn.Parameter(torch.randn(64, WIDTH))
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.decide = nn.Linear(WIDTH, 10)

    def forward(self, pixels, attend=scaled_dot_product_attention):
        x = self.embed(pixels) * self.position
        for layer in self.layers:
            x = layer(x, attend)
        return self.decide(x.mean(dim=1))


def fit(model, attend, steps, batch, rate):
    """Minimise cross-entropy."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        chosen = train[torch.randint(len(train), (batch,))]
        optimizer.zero_grad()
        cross_entropy(model(pixels[chosen], attend), labels[chosen]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(attend):
    """Part of the test images that are read right."""
    return float((model(pixels[test], attend).argmax(dim=1) == labels[test]).float().mean())


model = Reader()
fit(model, scaled_dot_product_attention, STEPS, batch=48, rate=8e-3)
exact = accuracy(scaled_dot_product_attention)
print(f"exact attention: accuracy {exact:.3f}")

# %%
# Other kinds of attention in its place
# -------------------------------------
#
# Not a weight is changed. The three kinds have the same landmarks, means of consecutive pixels, and
# differ in what stands for the pseudo-inverse.


def six_steps(query, key, value, landmarks):
    """As in Nyströmformer."""
    query = query * query.shape[-1] ** -0.5
    Q, K = (each.unflatten(-2, (landmarks, -1)).mean(dim=-2) for each in (query, key))
    A, F, B = (torch.softmax(x @ y.mT, dim=-1) for x, y in ((Q, K), (query, K), (Q, key)))
    return F @ (fixed_step_pinv(A) @ (B @ value))


KINDS = {
    "eagle, ridge by validation": nystrom_attention,
    "six fixed steps": six_steps,
    "eagle, pseudo-inverse": partial(nystrom_attention, ridge=0.0),
}
LANDMARKS = (2, 4, 8, 16, 32)


def approximation(attend):
    """Relative distance from exact attention in the layer."""
    x = model.layers[0].norm(model.embed(pixels[test]) * model.position)
    blocks = model.layers[0].project(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    truth = scaled_dot_product_attention(*blocks)
    return float((attend(*blocks) - truth).norm() / truth.norm())


accuracies, errors = {}, {}
with torch.no_grad():
    for name, kind in KINDS.items():
        kinds = [partial(kind, landmarks=m) for m in LANDMARKS]
        accuracies[name] = [accuracy(each) for each in kinds]
        errors[name] = [approximation(each) for each in kinds]
for title, rows in (("accuracy", accuracies), ("error", errors)):
    print(f"{title:28}" + "".join(f"{m:9}" for m in LANDMARKS))
    for name, numbers in rows.items():
        print(f"  {name:26}" + "".join(f" {number:8.3g}" for number in numbers))

# %%
# Why not the pseudo-inverse
# --------------------------
#
# It is computed to many digits, as the certificate says; but the matrix of the landmarks is nearly
# singular, and its small singular values amplify whatever the landmarks do not explain. Six steps
# happen to stop before they get there. The ridge is chosen for it.

with torch.no_grad():
    x = model.layers[0].norm(model.embed(pixels[test[:8]]) * model.position)
    blocks = model.layers[0].project(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    for name, ridge in (("pseudo-inverse", 0.0), ("validated", "cv")):
        _, result = nystrom_attention(
            *blocks, landmarks=16, ridge=ridge, method="eagle", return_result=True
        )
        print(
            f"{name}: {result.results.size} matrices, {result.status.name}, condition "
            f"{result.condition:.0e}, numerical error {result.error_estimate:.0e}"
        )

# %%
# A few steps of training
# -----------------------
#
# Gradients go through the solve by a formula, so the model can get used to its new attention.

tuned = partial(nystrom_attention, landmarks=8)
before = accuracy(tuned)
fit(model, tuned, 20, batch=24, rate=1e-3)
print(f"8 landmarks: accuracy {before:.3f}, after 20 steps of training {accuracy(tuned):.3f}")

# %%
# The picture
# -----------

STYLES = {
    "eagle, ridge by validation": {"color": "#0072B2", "marker": "o"},
    "six fixed steps": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "eagle, pseudo-inverse": {"color": "0.55", "marker": "D", "linestyle": ":"},
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
left.axhline(exact, color="black", linewidth=1.2, linestyle=":", label="exact attention")
for name, style in STYLES.items():
    left.plot(LANDMARKS, accuracies[name], **style, label=name)
    right.plot(LANDMARKS, errors[name], **style, label=name)
left.set(ylabel=f"accuracy on {len(test)} digits", title="Exact attention replaced")
left.legend(frameon=False, loc="center right")
right.set(ylabel="relative error of attention", yscale="log", title="Distance from exact attention")
for axes in (left, right):
    axes.set_xscale("log", base=2)
    axes.set_xticks(LANDMARKS, LANDMARKS)
    axes.set_xlabel("landmarks, for 64 tokens")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()
