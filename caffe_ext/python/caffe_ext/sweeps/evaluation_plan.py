"""What is measured on each trained network of a sweep, as data that a worker understands."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.evaluation.suite import CASCADE, Suite, parse_radius
from caffe_ext.runs.variants import FGS, FGS_VARIANTS, LOGIT_FGS
from caffe_ext.sweeps.yaml_checks import check_mapping, read_text_list

_LISTS = ("attacks", "radii", "cascade")
KEYS = (*_LISTS, "limit", "seed")
USUAL = (FGS, LOGIT_FGS, "hc1")


@dataclass(frozen=True)
class EvaluationPlan:
    """What is measured on the data set's test images.

    attacks  texts for parse_attack(); FGS is counted in the paper's protocol and strictly
    limit    only the first images; None: all
    radii    texts for parse_radius(), for robust accuracies
    cascade  attacks within each radius, as for `caffe-ext evaluate --cascade`
    seed     of random choices of the attacks
    """

    attacks: tuple[str, ...] = USUAL
    limit: int | None = None
    radii: tuple[str, ...] = ()
    cascade: tuple[str, ...] = CASCADE
    seed: int = 1

    def make_suite(self) -> Suite:
        """Return the attacks and radii; ValueError for unknown ones."""
        attacks = tuple(parse_attack(text, seed=self.seed) for text in self.attacks)
        texts = [attack.text for attack in attacks]
        return Suite(
            attacks,
            FGS_VARIANTS,
            tuple(parse_radius(text) for text in self.radii),
            self.cascade,
            loss=FGS if FGS in texts else None,
            margin=LOGIT_FGS if LOGIT_FGS in texts else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        given = asdict(self)
        return given | {key: list(given[key]) for key in _LISTS}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "EvaluationPlan":
        """Return the plan that to_dict() describes."""
        lists: dict[str, Any] = {key: tuple(given[key]) for key in _LISTS}
        return cls(limit=given["limit"], seed=given["seed"], **lists)


def name_radius(budget: PerturbationBudget) -> str:
    """Return "linf=8", the name of a radius in figures and columns."""
    return f"{budget.norm}={budget.epsilon:g}"


def read_evaluation(given: Any) -> EvaluationPlan:
    """Return the plan of a sweep file's `evaluation:`; ValueError if it is wrong."""
    known = check_mapping("`evaluation:`", given, KEYS)
    for key, least in (("limit", 1), ("seed", 0)):
        value = known.get(key, least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**32:
            raise ValueError(f"`{key}:` must be a whole number, {least} to 2^32 - 1, not {value!r}")
    lists = {key: read_text_list(f"`{key}:`", known[key]) for key in _LISTS if key in known}
    plan = EvaluationPlan(limit=known.get("limit"), seed=known.get("seed", 1), **lists)
    suite = plan.make_suite()
    if "cascade" in known and not plan.radii:
        raise ValueError("`cascade:` attacks within radii: `radii:` is missing, such as [8]")
    if len(set(map(name_radius, suite.radii))) < len(suite.radii):
        raise ValueError("`radii:` has a radius twice")
    return plan
