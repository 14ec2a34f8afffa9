"""Training: pure steps, one loop, hooks on the host."""

from jaxml.training import augmentation, losses, metrics, optimizers, sampling, schedules
from jaxml.training.checkpoint import checkpoint, restore
from jaxml.training.hooks import early_stopping, evaluation, progress, snapshots
from jaxml.training.loop import Chunk, NonFiniteError, fit, fit_many, run_steps
from jaxml.training.supervised import evaluate, full_loss, supervised

__all__ = [
    "Chunk",
    "NonFiniteError",
    "augmentation",
    "checkpoint",
    "early_stopping",
    "evaluate",
    "evaluation",
    "fit",
    "fit_many",
    "full_loss",
    "losses",
    "metrics",
    "optimizers",
    "progress",
    "restore",
    "run_steps",
    "sampling",
    "schedules",
    "snapshots",
    "supervised",
]
