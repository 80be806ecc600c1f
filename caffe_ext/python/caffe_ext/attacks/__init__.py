"""Attacks: directions, line searches and iterated methods, and the registry of their names.

from caffe_ext.attacks import parse_attack
attack = parse_attack("pgd=8/255/2x40+margin")
"""

from caffe_ext.attacks.apgd import AutoProjectedGradient
from caffe_ext.attacks.autoattack import AutoAttack
from caffe_ext.attacks.base import Attack, AttackResult, Diagnostics, RealReading
from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.criteria import (
    MISCLASSIFIED,
    Criterion,
    CriterionKind,
    Misclassification,
    TargetedMisclassification,
    TopKMisclassification,
    parse_criterion,
)
from caffe_ext.attacks.deform import Deformation
from caffe_ext.attacks.fab import FastAdaptiveBoundary
from caffe_ext.attacks.hopskipjump import HopSkipJump, HopSkipJumpL2, HopSkipJumpLinf
from caffe_ext.attacks.minimum_norm import MinimumNormAttack, SingleStep
from caffe_ext.attacks.pgd import ProjectedGradient
from caffe_ext.attacks.registry import list_attacks, parse_attack, register_attack
from caffe_ext.attacks.smallest.attack import MinimalL2, MinimalLinf, SmallestAttack
from caffe_ext.attacks.square import SquareAttack

__all__ = [
    "MISCLASSIFIED",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "AutoProjectedGradient",
    "Criterion",
    "CriterionKind",
    "Deformation",
    "Diagnostics",
    "FastAdaptiveBoundary",
    "HopSkipJump",
    "HopSkipJumpL2",
    "HopSkipJumpLinf",
    "MinimalL2",
    "MinimalLinf",
    "MinimumNormAttack",
    "Misclassification",
    "PerturbationBudget",
    "ProjectedGradient",
    "RealReading",
    "SingleStep",
    "SmallestAttack",
    "SquareAttack",
    "TargetedMisclassification",
    "TopKMisclassification",
    "list_attacks",
    "parse_attack",
    "parse_criterion",
    "register_attack",
]
