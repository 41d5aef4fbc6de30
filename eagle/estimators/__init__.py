"""Estimators for scikit-learn: kernel features, regression, tables with holes.

Needs the extra ``sklearn``: ``pip install 'eagle-solver[sklearn]'``.
"""

try:
    import sklearn as _sklearn
except ImportError as error:
    raise ImportError(
        "eagle.estimators needs scikit-learn: pip install 'eagle-solver[sklearn]'"
    ) from error
del _sklearn

from eagle.estimators.imputer import BlockImputer, Pattern
from eagle.estimators.kernel_ridge import NystroemRidge, NystroemRidgeClassifier
from eagle.estimators.nystroem import Nystroem
from eagle.estimators.regressor import EagleRegressor

__all__ = [
    "BlockImputer",
    "EagleRegressor",
    "Nystroem",
    "NystroemRidge",
    "NystroemRidgeClassifier",
    "Pattern",
]
