"""How far a sequence of tokens, or a set of objects, is from the right one."""

from jaxml.sequence.metrics.alignments import alignment_error_rate
from jaxml.sequence.metrics.bleu_scores import TextBleu, bleu, sentence_bleu, text_bleu
from jaxml.sequence.metrics.detections import average_precision, share_found
from jaxml.sequence.metrics.edit_distances import edit_distance
from jaxml.sequence.metrics.error_rates import error_rate, sequence_error_rate

__all__ = [
    "TextBleu",
    "alignment_error_rate",
    "average_precision",
    "bleu",
    "edit_distance",
    "error_rate",
    "sentence_bleu",
    "sequence_error_rate",
    "share_found",
    "text_bleu",
]
