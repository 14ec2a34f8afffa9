"""Studies: batch size, optimiser, rate and seed side by side in one compiled program."""

from jaxml.studies.batch_size import batch_size
from jaxml.studies.chapters import (
    DepthStudy,
    DiagnosisStudy,
    EdgeStudy,
    GeneralizationStudy,
    NormalizationStudy,
    compare_normalization,
    diagnose_networks,
)
from jaxml.studies.critical_batch_size import (
    Branch,
    CriticalBatchSize,
    by_branching,
    by_hyperbola,
    by_overhead,
    fit_hyperbola,
)
from jaxml.studies.depth import Depth, depths, linear_pieces, tents, width_of
from jaxml.studies.descents import SURFACES, Descents, descents
from jaxml.studies.diagnosis import Diagnosis, Score, diagnose
from jaxml.studies.edges import EDGES, Sharpening, sharpening
from jaxml.studies.equal_loss import EqualLoss, Minimum, at_equal_loss
from jaxml.studies.findings import Findings, best_lanes, findings
from jaxml.studies.generalization import (
    BestOfMany,
    Folds,
    Frequency,
    bad_samples,
    best_of_many,
    cross_validate,
    examples_needed,
    hoeffding_bound,
)
from jaxml.studies.lanes import SCHEDULES, Lanes, grid
from jaxml.studies.median_interval import MedianInterval, median_interval
from jaxml.studies.noise_along import NoiseAt, mean_scales, noise_along
from jaxml.studies.noise_scale import (
    NoiseScale,
    noise_scale,
    noise_scale_by_batches,
    noise_scale_of,
)
from jaxml.studies.noisy_quadratic import NoisyQuadratic
from jaxml.studies.normalization import Smoothness, smoothness
from jaxml.studies.planning import Plan, plan
from jaxml.studies.published import PUBLISHED, Published
from jaxml.studies.steps import Steps, StepsTable, kaplan_meier, median_time, steps_to_target
from jaxml.studies.study import Study, Target
from jaxml.studies.tasks import Task, gradient_flops, size_of, task
from jaxml.studies.throughput import Throughput, throughput
from jaxml.studies.two_slots import OPTIMIZERS

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
    "steps_to_target",
    "task",
    "tents",
    "throughput",
    "width_of",
]
