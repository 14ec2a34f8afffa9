"""Studies: batch size, optimiser, rate and seed side by side in one compiled program."""

import jaxml.studies.batch_scaling.views
import jaxml.studies.topics.depth_view
import jaxml.studies.topics.diagnosis_view
import jaxml.studies.topics.generalization_view
import jaxml.studies.topics.normalization_view
import jaxml.studies.topics.sharpening_view  # noqa: F401 - what results show
from jaxml.studies.batch_scaling.critical_batch_size import (
    Branch,
    CriticalBatchSize,
    by_branching,
    by_hyperbola,
    by_overhead,
    fit_hyperbola,
)
from jaxml.studies.batch_scaling.median_interval import MedianInterval, median_interval
from jaxml.studies.batch_scaling.noise_along import NoiseAt, mean_scales, noise_along
from jaxml.studies.batch_scaling.noise_scale import (
    NoiseScale,
    noise_scale,
    noise_scale_by_batches,
    noise_scale_of,
)
from jaxml.studies.batch_scaling.noisy_quadratic import NoisyQuadratic
from jaxml.studies.batch_scaling.published import PUBLISHED, Published
from jaxml.studies.batch_scaling.sharpness_at_equal_loss import EqualLoss, Minimum, at_equal_loss
from jaxml.studies.batch_scaling.steps_to_target import (
    Steps,
    StepsTable,
    kaplan_meier,
    median_time,
    steps_to_target,
)
from jaxml.studies.batch_scaling.summary import Findings, best_lanes, findings
from jaxml.studies.batch_scaling.throughput import Throughput, throughput
from jaxml.studies.sweep.batch_size import batch_size
from jaxml.studies.sweep.configs import SCHEDULES, Lanes, grid
from jaxml.studies.sweep.cost_model import Plan, plan
from jaxml.studies.sweep.descents import SURFACES, Descents, descents
from jaxml.studies.sweep.lane_optimizer import OPTIMIZERS
from jaxml.studies.sweep.result import Study, Target
from jaxml.studies.sweep.task import Task, gradient_flops, size_of, task
from jaxml.studies.sweep.transformations import state_bytes
from jaxml.studies.topics.chapters import (
    DepthStudy,
    DiagnosisStudy,
    EdgeStudy,
    GeneralizationStudy,
    NormalizationStudy,
    compare_normalization,
    diagnose_networks,
)
from jaxml.studies.topics.depth import Depth, depths, linear_pieces, tents, width_of
from jaxml.studies.topics.diagnosis import Diagnosis, Score, diagnose
from jaxml.studies.topics.generalization import (
    BestOfMany,
    Folds,
    Frequency,
    bad_samples,
    best_of_many,
    cross_validate,
    examples_needed,
    hoeffding_bound,
)
from jaxml.studies.topics.normalization import Smoothness, smoothness
from jaxml.studies.topics.sharpening import EDGES, Sharpening, sharpening

__all__ = [
    "EDGES",
    "OPTIMIZERS",
    "PUBLISHED",
    "SCHEDULES",
    "SURFACES",
    "BestOfMany",
    "Branch",
    "CriticalBatchSize",
    "Depth",
    "DepthStudy",
    "Descents",
    "Diagnosis",
    "DiagnosisStudy",
    "EdgeStudy",
    "EqualLoss",
    "Findings",
    "Folds",
    "Frequency",
    "GeneralizationStudy",
    "Lanes",
    "MedianInterval",
    "Minimum",
    "NoiseAt",
    "NoiseScale",
    "NoisyQuadratic",
    "NormalizationStudy",
    "Plan",
    "Published",
    "Score",
    "Sharpening",
    "Smoothness",
    "Steps",
    "StepsTable",
    "Study",
    "Target",
    "Task",
    "Throughput",
    "at_equal_loss",
    "bad_samples",
    "batch_size",
    "best_lanes",
    "best_of_many",
    "by_branching",
    "by_hyperbola",
    "by_overhead",
    "compare_normalization",
    "cross_validate",
    "depths",
    "descents",
    "diagnose",
    "diagnose_networks",
    "examples_needed",
    "findings",
    "fit_hyperbola",
    "gradient_flops",
    "grid",
    "hoeffding_bound",
    "kaplan_meier",
    "linear_pieces",
    "mean_scales",
    "median_interval",
    "median_time",
    "noise_along",
    "noise_scale",
    "noise_scale_by_batches",
    "noise_scale_of",
    "plan",
    "sharpening",
    "size_of",
    "smoothness",
    "state_bytes",
    "steps_to_target",
    "task",
    "tents",
    "throughput",
    "width_of",
]
