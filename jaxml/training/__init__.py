"""Training: pure steps, one loop, hooks on the host."""

import jaxml.training.views  # noqa: F401 - what results show
from jaxml.core.checksummed_dirs import DamagedError
from jaxml.training import (
    augmentation,
    averaging,
    losses,
    metrics,
    optimizers,
    saddles,
    sampling,
    schedules,
    streaming,
)
from jaxml.training.batches import ignore_label, length_mask
from jaxml.training.callbacks import (
    early_stopping,
    evaluation,
    metrics_log,
    progress,
    snapshots,
    tensorboard_log,
)
from jaxml.training.checkpointing import check_log, checkpoint, restore, restore_fields
from jaxml.training.evaluating import evaluate
from jaxml.training.learning_rates import LearningRates, find_learning_rate
from jaxml.training.loop import Chunk, Hook, NonFiniteError, fit, fit_many, run_steps
from jaxml.training.signals import stop_on_signals
from jaxml.training.supervised_learning import full_loss, supervised
from jaxml.training.updates import start, update

__all__ = [
    "Chunk",
    "DamagedError",
    "Hook",
    "LearningRates",
    "NonFiniteError",
    "augmentation",
    "averaging",
    "check_log",
    "checkpoint",
    "early_stopping",
    "evaluate",
    "evaluation",
    "find_learning_rate",
    "fit",
    "fit_many",
    "full_loss",
    "ignore_label",
    "length_mask",
    "losses",
    "metrics",
    "metrics_log",
    "optimizers",
    "progress",
    "restore",
    "restore_fields",
    "run_steps",
    "saddles",
    "sampling",
    "schedules",
    "snapshots",
    "start",
    "stop_on_signals",
    "streaming",
    "supervised",
    "tensorboard_log",
    "update",
]
