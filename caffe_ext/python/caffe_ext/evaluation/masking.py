"""Warnings about gradient masking: when the figures of an attack mean less than they seem to.

A network masks its gradients if they no longer lead to adversarials that still exist: attacks that
follow them fail, and the network looks more robust than it is. Each warning says what was measured,
what it means, and what to do. Neither a warning nor its absence is a proof.

The signs are those of Athalye, Carlini and Wagner, 2018 (iterated attacks weaker than single steps,
random points stronger than gradients, attacks without a bound that fail), and the three variants
of FGS (runs/variants.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt

from caffe_ext.evaluation.attackability import GRADIENTS, Attackability

# The least differences, in shares, for a warning.
_FAR_BELOW = 0.10
_BELOW = 0.02
_MANY = 0.05
_SOME = 0.01
# The least number of standard errors, and of images: few images say little. From 500 images on,
# the thresholds above are stricter.
_ERRORS = 2
_FEWEST = 10


@dataclass(frozen=True)
class MaskingWarning:
    """One sign of masking, in whole sentences.

    sign  a short, stable name, for programs
    """

    sign: str
    measured: str
    meaning: str
    advice: str

    def __str__(self) -> str:
        """Return all of it."""
        return f"{self.measured} {self.meaning} {self.advice}"


@dataclass(frozen=True)
class Probe:
    """Iterated and single steps of one radius, on the same images; shares of them that are broken.

    epsilon          Linf, in grey levels
    images           how many
    single_loss      the smallest adversarial along FGS's direction lies within epsilon
    single_margin    along the sign of the margin's gradient
    iterated_loss    BIM along the loss's gradient
    iterated_margin  BIM along the margin's
    """

    epsilon: float
    images: int
    single_loss: float
    single_margin: float
    iterated_loss: float
    iterated_margin: float


@dataclass(frozen=True)
class NoiseLevel:
    """Random noise against gradients, on the same images.

    level     standard deviation of the noise, in grey levels
    noise     share of noisy copies that change class
    gradient  share of images that FGS (strict) breaks within that L2 per pixel
    images    how many
    """

    level: float
    noise: float
    gradient: float
    images: int


@dataclass(frozen=True)
class Evidence:
    """The measurements behind the warnings; shares of the attacked images, None if not measured.

    images                how many were attacked
    paper, strict, logit  rates of FGS in its three variants
    saturated, zero_gradient
                          of FGS
    unbroken              not broken by any attack on all images, at any distance
    """

    images: int
    paper: float | None
    strict: float | None
    logit: float | None
    saturated: float | None
    zero_gradient: float | None
    unbroken: float | None
    probe: Probe | None = None
    noise: tuple[NoiseLevel, ...] = ()
    attackability: Attackability | None = None


def find_warnings(evidence: Evidence) -> tuple[MaskingWarning, ...]:
    """Return the warnings that the evidence supports, the most serious first."""
    return tuple(warning for rule in _RULES for warning in rule(evidence))


def clear(difference: float, least: float, images: int) -> bool:
    """Tell whether a share, or a difference of two shares of the same images, is significant.

    It must be above `least`, and above two standard errors. These are those of a paired difference
    where one share's images are among the other's, sqrt(d (1 - d) / images): the least they can be.
    """
    if images < _FEWEST or difference <= least:
        return False
    return difference > _ERRORS * sqrt(difference * (1 - difference) / images)


def format_share(share: float) -> str:
    """Return a share as text: 97.5%."""
    return f"{100 * share:.1f}%"


def _check_protocol_gap(evidence: Evidence) -> Iterator[MaskingWarning]:
    paper, strict, logit = evidence.paper, evidence.strict, evidence.logit
    if paper is None or strict is None or logit is None:
        return
    if clear(max(strict, logit) - paper, _FAR_BELOW, evidence.images):
        yield MaskingWarning(
            "paper-below-others",
            f"FGS breaks {format_share(paper)} of the images in the paper's protocol, but "
            f"{format_share(strict)} where every adversarial counts, and {format_share(logit)} "
            "along the margin of the logits.",
            "The difference is an artefact of the saturated softmax: the loss is exactly 0 "
            "although adversarials exist.",
            "Do not read it as robustness: report the three rates together, and compare models "
            "by attacks on the logits and by HC1.",
        )


def _check_strict_gap(evidence: Evidence) -> Iterator[MaskingWarning]:
    strict, logit = evidence.strict, evidence.logit
    if strict is None or logit is None:
        return
    if clear(logit - strict, _FAR_BELOW, evidence.images):
        yield MaskingWarning(
            "strict-below-logit",
            f"Along the sign of the loss's gradient {format_share(strict)} of the images are "
            f"broken, along that of the logits' margin {format_share(logit)}.",
            "The gradient of the loss does not survive the saturated softmax: what remains is "
            "zero, or rounding error in the last bits of float32.",
            "Use attacks on the logits (margin-s, pgd=E+margin, HC-k) for this model.",
        )


def _check_saturation(evidence: Evidence) -> Iterator[MaskingWarning]:
    if evidence.saturated is not None and clear(evidence.saturated, _MANY, evidence.images):
        yield MaskingWarning(
            "saturated-softmax",
            f"For {format_share(evidence.saturated)} of the images the softmax of the label is "
            "exactly 1 in float32, so that the loss is exactly 0.",
            "The logits are so large that the softmax saturates; attacks on the loss (FGS, FGV, "
            "PGD on the loss) then depend on the tiny probabilities of the other classes, or "
            "have no gradient at all.",
            "Attack the logits, or divide them by a temperature before the softmax.",
        )


def _check_zero_gradient(evidence: Evidence) -> Iterator[MaskingWarning]:
    if evidence.zero_gradient is not None and clear(evidence.zero_gradient, _SOME, evidence.images):
        yield MaskingWarning(
            "zero-gradient",
            f"For {format_share(evidence.zero_gradient)} of the images the gradient of the loss is "
            "0 in every pixel.",
            "FGS and FGV have no direction there; their failure is no evidence of robustness.",
            "Count these images separately, and attack them along the logits.",
        )


def _describe_probe(probe: Probe) -> str:
    """Return the radius and the images of a probe as the beginning of a sentence."""
    levels = "level" if probe.epsilon == 1 else "levels"
    return f"Within {probe.epsilon:g} grey {levels}, on {probe.images:,} images,"


def _check_iterated(evidence: Evidence) -> Iterator[MaskingWarning]:
    probe = evidence.probe
    if probe is None:
        return
    pairs = (
        ("loss", "the loss", probe.single_loss, probe.iterated_loss),
        ("margin", "the margin of the logits", probe.single_margin, probe.iterated_margin),
    )
    for sign, objective, single, iterated in pairs:
        if clear(single - iterated, _BELOW, probe.images):
            yield MaskingWarning(
                f"iterated-below-single-{sign}",
                f"{_describe_probe(probe)} a single step along {objective} breaks "
                f"{format_share(single)}, and an iterated attack (BIM) along it "
                f"{format_share(iterated)}.",
                "An iterated attack can do everything that a single step can: here it is misled "
                "by local gradients that do not point to adversarials.",
                "Try more and smaller steps, random starts (pgd=E) and other objectives before "
                "you trust the iterated attack's rate.",
            )


def _check_loss(evidence: Evidence) -> Iterator[MaskingWarning]:
    probe = evidence.probe
    if probe is None:
        return
    if clear(probe.iterated_margin - probe.iterated_loss, _MANY, probe.images):
        yield MaskingWarning(
            "iterated-loss-below-margin",
            f"{_describe_probe(probe)} BIM breaks {format_share(probe.iterated_loss)} along the "
            f"loss, and {format_share(probe.iterated_margin)} along the margin of the logits.",
            "The loss is the wrong objective here: iterated attacks on it overestimate the "
            "robustness, too.",
            "Report iterated attacks along the margin (bim=E+margin, pgd=E+margin).",
        )


def _check_noise(evidence: Evidence) -> Iterator[MaskingWarning]:
    worse = [one for one in evidence.noise if clear(one.noise - one.gradient, _BELOW, one.images)]
    if worse:
        worst = max(worse, key=lambda one: one.noise - one.gradient)
        yield MaskingWarning(
            "noise-above-gradient",
            f"Gaussian noise of {worst.level:g} grey levels changes the class of "
            f"{format_share(worst.noise)} of the noisy copies, and FGS breaks "
            f"{format_share(worst.gradient)} of the same images within that L2 per pixel.",
            "A random direction should not work better than the gradient: the gradient does not "
            "point to the decision boundary.",
            "Judge the model by attacks on the logits and by the noise itself.",
        )


def _check_unbroken(evidence: Evidence) -> Iterator[MaskingWarning]:
    if evidence.unbroken is not None and clear(evidence.unbroken, _SOME, evidence.images):
        yield MaskingWarning(
            "unbroken",
            f"{format_share(evidence.unbroken)} of the images withstand every attack that was run "
            "on all images, although the pixels may take any value within 0..255.",
            "Within these bounds any image can be turned into any other, so adversarials "
            "certainly exist: the attacks search in the wrong directions.",
            "Add attacks (--attacks pgd=E+margin, hc1-s, more ranks) until no image is left.",
        )


def _check_attackability(evidence: Evidence) -> Iterator[MaskingWarning]:
    found = evidence.attackability
    if found is None:
        return
    if found.randomised:
        yield MaskingWarning(
            "randomised",
            f"The same {found.images:,} images get different scores in a second forward pass: they "
            f"change by up to {format_share(found.randomised)} of the largest.",
            "Attacks follow one draw of the random numbers and are judged by another; what they "
            "leave unbroken is no sign of robustness.",
            "Attack the average over many draws, or take the random layer out.",
        )
    elif found.depends_on_batch:
        yield MaskingWarning(
            "depends-on-batch",
            "The scores of an image depend on the others of its batch: they change by up to "
            f"{format_share(found.depends_on_batch)} of the largest.",
            "The model adapts itself at test time (Dropout, or BatchNorm with the batch's "
            "statistics), and an adversarial in one batch may not be one in another.",
            "Fix the statistics (`use_global_stats: true`), or evaluate with --batch-size 1.",
        )
    if found.probabilities:
        yield MaskingWarning(
            "softmax-already-in",
            "The model's scores lie between 0 and 1 and add up to 1: they are probabilities.",
            "Losses on the scores (DLR, margin, cross-entropy) then pass the softmax twice, and "
            "their gradients vanish.",
            "Name the blob before the softmax: `logits:` in the model's YAML file.",
        )
    if clear(found.zero_gradient, _SOME, found.images):
        yield MaskingWarning(
            "zero-gradient-of-scores",
            f"For {format_share(found.zero_gradient)} of {found.images:,} images the gradient of "
            "the scores' margin is 0 in every pixel.",
            "Attacks that follow gradients (APGD, FAB, PGD) have no direction there.",
            "Rely on attacks that need no gradient: --cascade square=E.",
        )
    if clear(found.wrong_gradient, _MANY, min(found.images, GRADIENTS)):
        yield MaskingWarning(
            "wrong-gradient",
            f"For {format_share(found.wrong_gradient)} of the images the margin of the scores does "
            "not change as its gradient says, at any of three small steps.",
            "A layer optimises, quantises or purifies its input at test time, its backward pass is "
            "wrong, or the network has so many kinks that a gradient holds for smaller steps only "
            "(adversarial training does that): attacks that follow the gradient (APGD, FAB, PGD) "
            "are misled.",
            "Give such a layer a backward pass that approximates it, and rely on attacks that need "
            "no gradient: --cascade square=E.",
        )


_RULES: tuple[Callable[[Evidence], Iterator[MaskingWarning]], ...] = (
    _check_attackability,
    _check_protocol_gap,
    _check_strict_gap,
    _check_saturation,
    _check_zero_gradient,
    _check_loss,
    _check_iterated,
    _check_noise,
    _check_unbroken,
)
