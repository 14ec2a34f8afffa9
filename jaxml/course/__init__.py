"""The course: its chapters, and experiments that put what the lectures say to the test."""

from jaxml.course.experiment import Experiment, perform
from jaxml.course.index import CHAPTERS, Chapter, experiments, find

__all__ = ["CHAPTERS", "Chapter", "Experiment", "experiments", "find", "perform"]
