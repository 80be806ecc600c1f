"""registry.py: attacks of one's own, and why no class is taken for another."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attack_samples import ArraySource, labels, linear, rows
from caffe_ext.attacks import registry
from caffe_ext.attacks.base import Attack, AttackResult
from caffe_ext.attacks.criteria import Criterion
from caffe_ext.attacks.directions import HotCold
from caffe_ext.attacks.minimum_norm import MinimumNormAttack
from caffe_ext.attacks.registry import list_attacks, parse_attack, register_attack
from caffe_ext.models.base import Images, Ints, Model, find_top_class
from caffe_ext.runs.folder import AttackRun
from caffe_ext.runs.runner import run_attack


@dataclass(frozen=True)
class Brighten(Attack):
    """Adds the same to all pixels; it knows no gradient."""

    by: int = 10
    word: str = "plain"
    seed: int = 0

    @property
    def name(self) -> str:
        return f"brighten {self.by}"

    @property
    def threat_model(self) -> str:
        return "knows nothing"

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        moved = np.clip(images.astype(np.int64) + self.by, 0, 255).astype(np.uint8)
        logits = model.logits(moved)
        found = criterion.is_satisfied(logits, np.arange(len(images)))
        result = AttackResult.make_empty(images, queries=len(images))
        result.found[:] = found
        result.adversarials[found], result.classes[found] = (
            moved[found],
            find_top_class(logits)[found],
        )
        result.step_lengths[found] = self.by
        return result


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_families", dict(registry._families))
    register_attack("brighten")(Brighten)
    yield


def test_a_whole_number_is_an_int() -> None:
    """In a cascade, E stands for a radius, which is a float."""
    attack = parse_attack("brighten(by=8.0)")
    assert attack == Brighten(8)
    assert attack.text == "brighten(by=8)"
    for text in ("brighten(by=8.5)", "brighten(by=1e999)"):
        with pytest.raises(ValueError, match="by must be a whole number, not"):
            parse_attack(text)


def test_texts_of_an_own_attack_and_back() -> None:
    for text, attack in (
        ("brighten", Brighten(seed=5)),
        ("brighten(by=30)", Brighten(30, seed=5)),
        ("brighten(by=30, word='a,(b)')", Brighten(30, "a,(b)", seed=5)),
        ("brighten( word = 'x' )", Brighten(word="x", seed=5)),
        ("brighten(seed=7)", Brighten(seed=7)),
    ):
        assert parse_attack(text, seed=5) == attack
        assert parse_attack(attack.text, seed=attack.seed) == attack
    assert Brighten(30).file_name == "brighten~by=30"
    names = {Brighten(word=word).file_name for word in ("a", "b", "~", "%7e", "/", "a)", "(")}
    assert len(names) == 7
    assert all("/" not in name for name in names)
    assert "brighten" in [family.name for family in list_attacks()]


def test_a_float_that_equals_a_whole_number_is_another_setting() -> None:
    assert Brighten(by=10.0).text == "brighten(by=10.0)"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("brighten(20)", "brighten takes settings as key=value only; there are by, word, seed"),
        ("brighten(much=2)", "brighten has no setting 'much'; there are by, word, seed"),
        ("brighten(by=f())", "settings must be key=value, each once"),
        ("brighten(by=)", "settings must be key=value, each once"),
        ("brighten(by=1, by=2)", "settings must be key=value, each once"),
        ("brighten(by=1)(seed=2)", "settings must be key=value, each once"),
        ("brighten(by=1).by(seed=2)", "settings must be key=value, each once"),
        ("brighten(by=1", r"(?s)unknown attack 'brighten\(by=1'.*\sbrighten\(\.\.\.\)"),
    ],
)
def test_settings_that_make_no_sense(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_attack(text)


def test_names_that_are_taken_or_none() -> None:
    for name, says in (
        ("hc1", "'hc1' is the name of another attack"),
        ("margin-s", "is the name of another attack"),
        ("Brighten", "lower-case letters"),
        ("", "lower-case letters"),
    ):
        with pytest.raises(ValueError, match=says):
            register_attack(name)(Brighten)

    @dataclass(frozen=True)
    class Other(Brighten):
        pass

    with pytest.raises(ValueError, match="name of another attack"):
        register_attack("brighten")(Other)
    with pytest.raises(ValueError, match="this class is already registered"):
        register_attack("brighter")(Brighten)
    with pytest.raises(TypeError, match="must be a frozen dataclass"):
        register_attack("plain")(type("Plain", (Attack,), {}))


def test_a_subclass_is_never_taken_for_its_base() -> None:
    class Mine(HotCold):
        pass

    class Search(MinimumNormAttack):
        pass

    @dataclass(frozen=True)
    class Brighter(Brighten):
        pass

    with pytest.raises(TypeError, match="Mine is a direction without a name: register an attack"):
        assert MinimumNormAttack(Mine()).text
    for attack in (Search(HotCold()), Brighter()):
        with pytest.raises(TypeError, match="is not registered"):
            assert attack.text


def test_a_run_of_an_attack_without_a_direction(tmp_path: Path) -> None:
    model = linear(tmp_path, [[0, 0], [1, 0]], [100.5, 0])
    source = ArraySource(rows([95, 3], [20, 3], [200, 0]), labels(0, 0, 0))
    run = AttackRun(parse_attack("brighten"), {}, tmp_path / "out")
    records = run_attack(model, source, run)
    assert records.attempted.tolist() == [True, True, False]
    assert records.found.tolist() == records.verified.tolist() == [True, False, False]
    assert not records.saturated.any()
    assert records.linf[0] == records.step_lengths[0] == 10
    assert (tmp_path / "out" / "brighten.h5").is_file()
    again = run_attack(model, source, run)
    assert again.found.tolist() == records.found.tolist()


def test_settings_without_a_default() -> None:
    @register_attack("needy")
    @dataclass(frozen=True)
    class Needy(Brighten):
        amount: Any = None
        kind: str = ""

        def __post_init__(self) -> None:
            if self.amount is None:
                raise ValueError("amount must be given")

    with pytest.raises(ValueError, match=r"^needy: amount must be given"):
        parse_attack("needy")
    assert parse_attack("needy(amount=3)").text == "needy(amount=3)"
