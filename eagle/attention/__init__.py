"""Nyström attention for torch. Needs PyTorch: ``pip install 'eagle-solver[torch]'``."""

try:
    import torch as _torch
except ImportError as error:
    raise ImportError("eagle.attention needs torch: pip install 'eagle-solver[torch]'") from error
del _torch

from eagle.attention.layer import NystromAttention
from eagle.attention.nystrom import AttentionResult, fixed_step_pinv, nystrom_attention

__all__ = ["AttentionResult", "NystromAttention", "fixed_step_pinv", "nystrom_attention"]
