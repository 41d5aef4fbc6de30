"""Nyström attention for torch. Needs PyTorch: ``pip install 'eagle-solver[torch]'``."""

from eagle.attention.nystrom import (
    AttentionResult,
    NystromAttention,
    fixed_step_pinv,
    nystrom_attention,
)

__all__ = ["AttentionResult", "NystromAttention", "fixed_step_pinv", "nystrom_attention"]
