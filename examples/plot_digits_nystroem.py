"""
Kernel ridge on digits, from a few landmarks
============================================

A kernel machine for n samples needs an n x n matrix. With m landmarks it needs n x m: the features
of `eagle.estimators.Nystroem` make a linear classifier out of it, in a pipeline of scikit-learn.

You learn how accuracy grows with the number of landmarks, that well-chosen landmarks are worth
twice as many random ones, and why the arithmetic matters once a kernel is nearly singular.
"""

# %%
# Accuracy against landmarks
# --------------------------
#
# Handwritten digits, 8 x 8 pixels. The exact machine is ridge classification with the whole kernel
# of the 1200 training images; the others have the same ridge.

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn import kernel_approximation
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelBinarizer

from eagle.estimators import Nystroem

GAMMA, RIDGE = 0.05, 1e-3
LANDMARKS = (10, 20, 40, 80, 160, 320, 640)
images, labels = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    images / 16, labels, train_size=1200, stratify=labels, random_state=0
)

binarizer = LabelBinarizer(neg_label=-1)
machine = KernelRidge(kernel="rbf", gamma=GAMMA, alpha=RIDGE).fit(X, binarizer.fit_transform(y))
exact = (machine.predict(X_test).argmax(axis=1) == y_test).mean()
print(f"exact kernel, 1200 samples: accuracy {exact:.3f}")


def accuracy(nystroem):
    """Of a linear classifier on Nyström features."""
    return make_pipeline(nystroem, RidgeClassifier(alpha=RIDGE)).fit(X, y).score(X_test, y_test)


KINDS = {
    "scikit-learn": lambda m, seed: kernel_approximation.Nystroem(
        gamma=GAMMA, n_components=m, random_state=seed
    ),
    "eagle, uniform": lambda m, seed: Nystroem(gamma=GAMMA, n_components=m, random_state=seed),
    "eagle, k-means": lambda m, seed: Nystroem(
        gamma=GAMMA, n_components=m, random_state=seed, landmarks="kmeans"
    ),
}
accuracies = {
    name: np.array([np.mean([accuracy(kind(m, seed)) for seed in range(3)]) for m in LANDMARKS])
    for name, kind in KINDS.items()
}
print("landmarks     " + "".join(f"{m:8}" for m in LANDMARKS))
for name, numbers in accuracies.items():
    print(f"{name:14}" + "".join(f"{number:8.3f}" for number in numbers))

# %%
# A nearly singular kernel in single precision
# --------------------------------------------
#
# With a wide kernel all images look alike, and its eigenvalues fall below the rounding unit of
# float32 after a few hundred. The features then have to be computed with care: here in double
# precision, without the directions that are noise, and rounded once.

WIDE = 1e-3
single = X.astype(np.float32)
K = rbf_kernel(X, gamma=WIDE)


def kernel_error(nystroem):
    """Relative error of the kernel that float32 features stand for."""
    Z = nystroem.fit_transform(single).astype(float)
    return np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K)


settings = [{"gamma": WIDE, "n_components": m, "random_state": 0} for m in LANDMARKS]
theirs = [kernel_error(kernel_approximation.Nystroem(**each)) for each in settings]
ours = [kernel_error(Nystroem(**each)) for each in settings]
print("kernel error  " + "".join(f"{m:8}" for m in LANDMARKS))
for name, numbers in (("scikit-learn", theirs), ("eagle", ours)):
    print(f"{name:14}" + "".join(f"{number:8.0e}" for number in numbers))

# %%
# A slice of the approximate kernel comes with a certificate of its own.

nystroem = Nystroem(gamma=GAMMA, n_components=320, random_state=0).fit(X)
result = nystroem.approximate_kernel(X_test, X, rng=0)
print(f"kernel slice {result.value.shape}: {result.status.name}, error {result.error_estimate:.0e}")

# %%
# The picture
# -----------

STYLES = {
    "scikit-learn": {"color": "0.55", "marker": "s", "linestyle": "--"},
    "eagle, uniform": {"color": "#0072B2", "marker": "o"},
    "eagle, k-means": {"color": "#D55E00", "marker": "D"},
    "eagle": {"color": "#0072B2", "marker": "o"},
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
left.axhline(exact, color="black", linewidth=1.2, linestyle=":", label="exact kernel")
for name, numbers in accuracies.items():
    left.plot(LANDMARKS, numbers, **STYLES[name], label=name, markersize=5)
left.set(ylabel="accuracy on 597 images", title=f"Ridge classifier on digits, γ = {GAMMA}")
left.legend(frameon=False, loc="lower right")
right.plot(LANDMARKS, theirs, **STYLES["scikit-learn"], label="scikit-learn", markersize=5)
right.plot(LANDMARKS, ours, **STYLES["eagle"], label="eagle", markersize=5)
right.axhline(np.finfo(np.float32).eps, color="black", linewidth=1.2, linestyle=":")
right.annotate("float32", (LANDMARKS[0], 1.4e-7), color="0.3")
right.set(
    ylabel="relative error of the kernel", yscale="log", title=f"float32 features, γ = {WIDE}"
)
right.legend(frameon=False)
for axes in (left, right):
    axes.set_xscale("log", base=2)
    axes.set_xticks(LANDMARKS, LANDMARKS)
    axes.set_xlabel("landmarks")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()
