"""Sequences from sequences: tokens, training, decoding and measuring; sets from images."""

from jaxml.sequence import decoding, metrics, tokens
from jaxml.sequence._decode import decode
from jaxml.sequence.back_translation import back_translation
from jaxml.sequence.boxes import generalized_iou, intersection_over_union
from jaxml.sequence.distillation import distilled
from jaxml.sequence.guided_attention import guided_attention, off_diagonal
from jaxml.sequence.non_autoregressive import decode_at_once, non_autoregressive
from jaxml.sequence.pointer_generator import extended, pointer_generator
from jaxml.sequence.scheduled_sampling import scheduled_sampling
from jaxml.sequence.self_critical import reinforce
from jaxml.sequence.set_prediction import hungarian, set_loss, set_prediction
from jaxml.sequence.teacher_forcing import forced, teacher_forcing, with_end

__all__ = [
    "back_translation",
    "decode",
    "decode_at_once",
    "decoding",
    "distilled",
    "extended",
    "forced",
    "generalized_iou",
    "guided_attention",
    "hungarian",
    "intersection_over_union",
    "metrics",
    "non_autoregressive",
    "off_diagonal",
    "pointer_generator",
    "reinforce",
    "scheduled_sampling",
    "set_loss",
    "set_prediction",
    "teacher_forcing",
    "tokens",
    "with_end",
]
