"""The linear transformer that rediscovers EAGLE: train it, read the rule out, check that it holds.

Needs the extra ``torch``: ``pip install 'eagle-solver[torch]'``.
"""

try:
    import safetensors as _safetensors
    import torch as _torch
except ImportError as error:
    raise ImportError(
        "eagle.transformer needs torch and safetensors: pip install 'eagle-solver[torch]'"
    ) from error
del _safetensors, _torch

from eagle.transformer.config import ModelConfig, TaskConfig, TrainConfig
from eagle.transformer.data import Batch, sample_batch
from eagle.transformer.extract import extract
from eagle.transformer.fidelity import Distances, Fidelity, distances, fidelity
from eagle.transformer.model import LinearTransformer
from eagle.transformer.pretrained import load_pretrained, pretrained, pretrained_path
from eagle.transformer.rule import LayerRule, Rule, Structure
from eagle.transformer.run import Record, Run, RunStatus, load_run
from eagle.transformer.skeleton import Skeleton, skeleton
from eagle.transformer.train import evaluate, train

__all__ = [
    "Batch",
    "Distances",
    "Fidelity",
    "LayerRule",
    "LinearTransformer",
    "ModelConfig",
    "Record",
    "Rule",
    "Run",
    "RunStatus",
    "Skeleton",
    "Structure",
    "TaskConfig",
    "TrainConfig",
    "distances",
    "evaluate",
    "extract",
    "fidelity",
    "load_pretrained",
    "load_run",
    "pretrained",
    "pretrained_path",
    "sample_batch",
    "skeleton",
    "train",
]
