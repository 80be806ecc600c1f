"""Sweep files: what they say, and how wrong ones are refused, before any work."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.errors import DataError, UnreachableError
from caffe_ext.studies.table1.comparison import PAPER
from caffe_ext.studies.table1.training import MODELS
from caffe_ext.sweeps.checks import describe_solver_kind
from caffe_ext.sweeps.data import SweepData
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.fields import set_field
from caffe_ext.sweeps.file import read_sweep
from caffe_ext.sweeps.sweep import Sweep, SweepPlan
from caffe_ext.sweeps.values import read_values
from sweep_samples import write_sweep

CHECKOUT = Path(__file__).parents[2]


def plan(folder: Path, **changes: Any) -> SweepPlan:
    file = read_sweep(write_sweep(folder / "files", **changes))
    return Sweep(file, folder / "out", folder / "files").plan()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"from": 1.0, "to": 1.3, "step": 0.1}, (1.0, 1.1, 1.2, 1.3)),
        ({"from": 0.78, "to": 0.8, "step": 0.005}, (0.78, 0.785, 0.79, 0.795, 0.8)),
        ({"from": 3, "to": 1, "step": -1}, (3, 2, 1)),
        ({"from": 1, "to": 1, "step": 1}, (1,)),
        ([0.1, "inv"], (0.1, "inv")),
    ],
)
def test_ranges_are_exact_decimals(given: Any, expected: tuple[Any, ...]) -> None:
    found = read_values("the axis x", given)
    assert found == expected
    assert list(map(repr, found)) == list(map(repr, expected))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"from": 1.0, "to": 1.6, "step": 0.25}, "lead to 1.50 and 1.75, but not to 1.6"),
        ({"from": 1, "to": 2, "step": -1}, "never lead from 1 to 2"),
        ({"from": 1, "to": 2, "step": 0}, "never lead"),
        ({"from": 1, "to": 2}, "a range without `step:`"),
        ({"form": 1, "to": 2, "step": 1}, "unknown key 'form' (did you mean from?)"),
        ({"from": "x", "to": 2, "step": 1}, "`from:` must be a number, not 'x'"),
        ({"from": 0, "to": 1, "step": 1e-9}, "has more than 100,000 values"),
        ([1, 2, 1], "the value 1 twice"),
        ([], "must be a list of values"),
        (5, "must be a list of values"),
    ],
)
def test_wrong_values_are_refused(given: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match="the axis x") as caught:
        read_values("the axis x", given)
    assert sentence in f"{caught.value}"


def test_fields_are_set_by_path() -> None:
    solver = caffe_pb2.SolverParameter()
    for path, value in {
        "bang_param.beta": "1e-1",
        "max_iter": 7,
        "lr_policy": "inv",
        "stepvalue": [3, 4],
        "regularization_type": "L1",
        "debug_info": True,
        "solver_type": "ADAM",
    }.items():
        set_field(solver, path, value)
    expected = """
        max_iter: 7 lr_policy: "inv" debug_info: true regularization_type: "L1" solver_type: ADAM
        stepvalue: [3, 4] bang_param { beta: 0.1 }
    """
    assert solver == text_format.Parse(expected, caffe_pb2.SolverParameter())


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("bang_param.bet", 1, "no field 'bet'; did you mean beta?"),
        ("bang_parm.beta", 1, "no field 'bang_parm'; did you mean bang_param?"),
        ("bang_param", 1, "is a group of fields; name one of them: bang_param.base_type"),
        ("bang_param.layer.beta", 1, "layer has no fields that can be set by name"),
        ("base_lr", "fast", "base_lr must be a number, not 'fast'"),
        ("base_lr", float("nan"), "must be a number"),
        ("base_lr", True, "must be a number"),
        ("max_iter", 2.5, "must be a whole number, not 2.5"),
        ("max_iter", 2**40, "must be a whole number"),
        ("debug_info", 1, "must be true or false"),
        ("lr_policy", 3, "must be text"),
        ("solver_type", "ADA", "must be one of SGD, "),
        ("stepvalue", 3, "takes a list of values"),
        ("net", "x", "net cannot be set here: use the axis `net`"),
        ("test_iter", [3], "measured by `evaluation:`"),
        ("snapshot", 3, "in one piece"),
        ("solver_mode", "GPU", "use --gpu"),
        ("net_param.name", "x", "the networks are files"),
        ("bang_param.diagnostics_csv", "x", "a point keeps its figures and weights"),
    ],
)
def test_wrong_fields_are_refused(path: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=path.split(".", maxsplit=1)[0]) as caught:
        set_field(caffe_pb2.SolverParameter(), path, value)
    assert sentence in f"{caught.value}"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"solvr": "x"}, "unknown key 'solvr' in a sweep file (did you mean solver?)"),
        ({"solver": None}, "`solver:` is missing"),
        ({"solver": "gone.prototxt"}, "which is not a file"),
        ({"axes": None}, "`axes:` is missing"),
        ({"axes": {}}, "`axes:` must have lines"),
        ({"data": "mnits"}, "unknown data set 'mnits' (did you mean mnist?)"),
        ({"data": {"name": "digits", "validation": -1}}, "`validation:` must be a number"),
        ({"settings": {"bang_param.beta": 1}}, "is an axis, and in `settings:` as well"),
        ({"evaluation": {"attack": ["fgs"]}}, "unknown key 'attack' in `evaluation:`"),
        ({"evaluation": {"attacks": ["fsg"]}}, "fsg"),
        ({"evaluation": {"limit": 0}}, "`limit:` must be a whole number, 1 to 2^32 - 1"),
        ({"evaluation": {"radii": ["l3=8"]}}, "a radius must be written as"),
        ({"baseline": {"settings": {}}}, "`baseline:` has no `solver:`"),
        ({"keep_weights": 1}, "must be true or false"),
        ({"axes": {"data": ["digits"]}}, "`data:` is an axis, and given for all points"),
        ({"axes": {"variant": [{"settings": {}}]}}, "a variant without a `name:`"),
        ({"axes": {"variant": [{"name": 3}]}}, "a variant without a `name:` that is text"),
        ({"axes": {"variant": ["R0"]}}, "the axis variant must have lines"),
        ({"axes": {"variant": [{"name": "a", "solvr": "x"}]}}, "did you mean solver?"),
        ({"axes": {"variant": [{"name": "a", "solver": "x"}]}}, "which is not a file"),
        ({"axes": {"variant": [{"name": "a", "model": "model.yaml"}]}}, "without a `net:`"),
        ({"axes": {"variant": [{"name": "a", "published": [1]}]}}, "`published:` must have lines"),
        (
            {"axes": {"variant": [{"name": "a", "published": {"accuracy": "99%"}}]}},
            "the axis variant, a: `published:` must have lines such as `accuracy: 0.9916`",
        ),
        (
            {"axes": {"variant": [{"name": "a"}, {"name": "a", "settings": {"max_iter": 2}}]}},
            "two variants called a",
        ),
        (
            {"axes": {"data": ["digits", {"name": "digits"}]}, "data": None},
            "the axis data has the value digits twice",
        ),
        *(
            (
                {"axes": {"net": [{"name": name, "net": "net.prototxt", "model": "model.yaml"}]}},
                "the axis net has a network without a `name:` that is text",
            )
            for name in ("", 3, None, ["a"], "a\x1b[31m")
        ),
        (
            {"axes": {"variant": [{"name": "a", "published": {"accuracy": 10**400}}]}},
            "`published:` must have lines",
        ),
        (
            {"axes": {"variant": [{"name": "published"}]}},
            "the axis variant: other rows are called published in the tables",
        ),
        (
            {"axes": {"variant": [{"name": "baseline"}]}},
            "the axis variant: other rows are called baseline in the tables",
        ),
        ({"maps": []}, "`maps:` names no figure"),
        (
            {
                "axes": {
                    "max_iter": [1, 2],
                    "variant": [{"name": "a", "settings": {"max_iter": 2}}],
                }
            },
            "max_iter is an axis, and in the variant a as well",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, changes: Any, sentence: str) -> None:
    path = write_sweep(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"sweep\.yaml") as caught:
        read_sweep(path)
    assert sentence in f"{caught.value}"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"axes": {"bang_param.bet": [1]}}, "did you mean beta?"),
        ({"axes": {"bang_param.beta": [1, 0]}}, "beta is 0, which would freeze the weights"),
        ({"axes": {"bang_param.epsilon": [1, -1]}}, "must be a finite number, 0 or larger"),
        ({"settings": {"lr_policy": "invers"}}, "invers"),
        ({"settings": {"max_iter": 0}}, "does not set max_iter"),
        ({"settings": {"type": "BNAG"}}, "BNAG"),
        ({"axes": {"random_seed": [1, -1]}}, "seed 1 and baseline, random_seed -1 are the same"),
        ({"axes": {"momentum": [0.1, 0.1000000001]}}, "momentum 0.1 and .* are the same training"),
    ],
)
def test_every_point_is_checked_before_any_work(
    tmp_path: Path, changes: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        plan(tmp_path, **changes)


def test_adversarial_training_is_checked(tmp_path: Path) -> None:
    """On the tiny network of the checks, whose layers and blobs have other names."""
    attack = 'adversarial_param { loss_layer: "loss" attack { epsilon: 8 } }'
    path = write_sweep(tmp_path / "files", axes={"max_iter": [1, 2]}, baseline=None)
    solver = path.with_name("solver.prototxt")
    text = solver.read_text().replace('"BANG"', '"Adversarial"')
    solver.write_text(text + attack)
    assert len(Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan().points) == 2
    solver.write_text(text + attack.replace("8", "-8"))
    with pytest.raises(ValueError, match=r"max_iter 1: .*epsilon") as caught:
        Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan()
    assert "/tmp" not in f"{caught.value}"


def test_a_batch_may_be_split_between_attacks(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "files", axes={"max_iter": [1, 2]}, baseline=None)
    solver = path.with_name("solver.prototxt")
    text = solver.read_text().replace('"BANG"', '"Adversarial"')
    attacks = "attack { epsilon: 8 } attack { type: FGSM epsilon: 8 }"
    solver.write_text(text + f"adversarial_param {{ mix: BATCH alpha: 0.4 {attacks} }}")
    assert len(Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan().points) == 2


def test_the_loss_layer_may_have_any_name(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "files", axes={"max_iter": [1, 2]}, baseline=None)
    net, solver = path.with_name("net.prototxt"), path.with_name("solver.prototxt")
    net.write_text(net.read_text().replace('name: "loss"', 'name: "other"'))
    text = solver.read_text()
    solver.write_text(text + 'bang_param { incorrect_ratio: 0.5 loss_layer: "other" }')
    sweep = Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files")
    assert len(sweep.plan().points) == 2
    solver.write_text(text + 'bang_param { incorrect_ratio: 0.5 loss_layer: "loss" }')
    with pytest.raises(ValueError, match=r"max_iter 1: .*loss_layer 'loss'"):
        sweep.plan()


@pytest.mark.parametrize(
    ("settings", "right", "wrong"),
    [
        ('type: "BANG" bang_param { layer { name: "NAME" epsilon: 0.5 } }', "ip", "nowhere"),
        (
            'type: "Adversarial" adversarial_param { data_blob: "NAME" attack { epsilon: 8 } }',
            *("data", "nowhere"),
        ),
    ],
)
def test_every_variant_is_tried_on_its_network(
    tmp_path: Path, settings: str, right: str, wrong: str
) -> None:
    """Settings of layers that a network does not have would end its training."""
    files = tmp_path / "files"
    variants = [{"name": name, "solver": f"{name}.prototxt"} for name in ("first", "second")]
    write_sweep(files)
    text = (files / "solver.prototxt").read_text().replace('type: "BANG"', settings)
    for name in ("first", "second"):
        (files / f"{name}.prototxt").write_text(text.replace("NAME", right))
    changes: dict[str, Any] = {"axes": {"variant": variants, "random_seed": [1]}, "baseline": None}
    assert len(plan(tmp_path, **changes).points) == 2
    (files / "second.prototxt").write_text(text.replace("NAME", wrong))
    with pytest.raises(ValueError, match=rf"variant second.*: .*{wrong}"):
        plan(tmp_path, **changes)


def test_each_kind_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def count(point: SweepPoint, _: SweepData) -> float:
        tried.append(point.title)
        return 0.5

    monkeypatch.setattr("caffe_ext.sweeps.checks._try", count)
    axes: dict[str, list[Any]] = {"bang_param.beta": [1, 1.2], "bang_param.epsilon": [0.5, 0.8]}
    assert plan(tmp_path, axes=axes).seconds == 20 * 0.5
    assert tried == ["baseline", "beta 1, epsilon 0.5"]
    del tried[:]
    plan(tmp_path, axes={"iter_size": [1, 2], "base_lr": [0.1, 0.2]}, baseline=None)
    assert tried == ["iter_size 1, base_lr 0.1", "iter_size 2, base_lr 0.1"]


def test_the_kind_of_a_solver() -> None:
    def describe(text: str) -> str:
        return describe_solver_kind(text_format.Parse(text, caffe_pb2.SolverParameter()))

    same = 'type: "Adversarial" adversarial_param { attack { epsilon: EPSILON } } max_iter: 5'
    eight = describe(same.replace("EPSILON", "8"))
    assert describe(same.replace("EPSILON", "4").replace("5", "6")) == eight
    others = (
        *(same.replace("EPSILON", "0"), same.replace("EPSILON", "8 steps: 3")),
        same.replace("EPSILON", "8") + " iter_size: 2",
        same.replace("EPSILON } }", "8 } attack { epsilon: 8 } }"),
        same.replace("EPSILON } }", "8 } trades_beta: 6 }"),
    )
    assert len({eight, *map(describe, others)}) == 6


def test_the_stages_of_a_solver_are_trained(tmp_path: Path) -> None:
    """Dropout may be a stage of a network, as in solvers/lenet_dropout_all.prototxt."""
    path = write_sweep(tmp_path / "files", axes={"max_iter": [1, 2]}, baseline=None)
    net, solver = path.with_name("net.prototxt"), path.with_name("solver.prototxt")
    stages = 'train_state { stage: "deep" }'
    solver.write_text(solver.read_text() + stages)
    sweep = Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files")
    trained = sweep.plan().points[0].description["solver"]
    parsed = text_format.Parse(trained, caffe_pb2.SolverParameter())
    assert list(parsed.train_state.stage) == ["deep"]
    axes = {"train_state.stage": [[], ["deep"]]}
    assert len({one.digest for one in plan(tmp_path, axes=axes, baseline=None).points}) == 2
    # Each stage is tried before any work.
    net.write_text(net.read_text() + 'layer { name: "x" type: "Odd" include { stage: "deep" } }')
    sweep = Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files")
    with pytest.raises(ValueError, match=r"stage \['deep'\]: .*Odd"):
        sweep.plan()


def test_paths_in_solver_files_are_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = read_sweep(write_sweep(tmp_path / "files", net=None, baseline=None))
    sweep = Sweep(file, tmp_path / "out")
    with pytest.raises(ValueError, match=r"cannot read the network of .*solver\.prototxt"):
        sweep.plan()
    monkeypatch.chdir(tmp_path / "files")
    assert len(sweep.plan().points) == 4


def test_digits_do_not_stand_in_for_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAFFE_EXT_DATA", raising=False)
    monkeypatch.setattr("caffe_ext.sweeps.data.DATA", tmp_path)

    def fail(*_: Any) -> Any:
        raise UnreachableError("no network")

    monkeypatch.setattr("caffe_ext.data.preparation.download_source", fail)
    with pytest.raises(DataError, match="mnist is not on this machine, and no mirror"):
        plan(tmp_path, data="mnist")
    # A sweep has no --data-dir.
    with pytest.raises(DataError, match=r"CIFAR-10 is not on this machine .* or in CAFFE_EXT_DATA"):
        plan(tmp_path, data="cifar10")


def test_a_network_that_reads_something_else_is_refused(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "files")
    net = path.with_name("net.prototxt")
    net.write_text(net.read_text().replace("train_lmdb", "mine_lmdb"))
    with pytest.raises(ValueError, match=r"reads data/digits/mine_lmdb, which .* does not have"):
        Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("num_output: 10", "num_output: 7", "beta 1.0, epsilon 0.5: .*ip"),
        ("dim: 28", "dim: 14", "beta 1.0, epsilon 0.5: "),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    path = write_sweep(tmp_path / "files", baseline=None)
    deploy = path.with_name("deploy.prototxt")
    deploy.write_text(deploy.read_text().replace(old, new))
    with pytest.raises(ValueError, match=sentence):
        Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan()


def test_a_point_that_diverges_is_not_refused(tmp_path: Path) -> None:
    """It fails by itself, later, and the others are computed."""
    for solver in ("plain.prototxt", "solver.prototxt"):
        axes = {"base_lr": [1e37, 0.01]}
        assert len(plan(tmp_path, solver=solver, axes=axes, baseline=None).points) == 2


def test_a_committee_is_no_model_of_a_sweep(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "files", baseline=None)
    path.with_name("model.yaml").write_text("members: [a.yaml, b.yaml]\n")
    with pytest.raises(ValueError, match="`members:` makes a committee of networks; a single one"):
        Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan()


@pytest.mark.parametrize(
    "line", ["scale: 2001-01-01", "mean: [2001-01-01]", "crop: !!set {1}", "logits: !!binary aQ=="]
)
def test_a_model_has_only_values_that_can_be_described(tmp_path: Path, line: str) -> None:
    path = write_sweep(tmp_path / "files", baseline=None)
    path.with_name("model.yaml").write_text(f"deploy: deploy.prototxt\n{line}\n")
    key = line.partition(":")[0]
    with pytest.raises(ValueError, match=rf"model\.yaml: `{key}:` must be a number, a text, or"):
        Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan()


def test_a_sweep_whose_file_has_an_odd_name_needs_one(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    odd = path.rename(path.with_name("caf\udce9.yaml"))
    with pytest.raises(ValueError, match="give the sweep a `name:`"):
        read_sweep(odd)
    odd.write_text(f"{odd.read_text()}name: caf\u00e9\n", encoding="utf-8")
    assert read_sweep(odd).name == "caf\u00e9"


def test_points_are_described_by_what_matters(tmp_path: Path) -> None:
    points = plan(tmp_path).points
    assert [point.title for point in points] == [
        "baseline",
        "beta 1.0, epsilon 0.5",
        "beta 1.0, epsilon 0.8",
        "beta 1.2, epsilon 0.5",
        "beta 1.2, epsilon 0.8",
    ]
    assert len({point.digest for point in points}) == 5
    solver = text_format.Parse(points[4].description["solver"], caffe_pb2.SolverParameter())
    assert solver.bang_param.beta == pytest.approx(1.2)
    for cleared in ("snapshot", "snapshot_prefix", "test_interval", "solver_mode"):
        assert not solver.HasField(cleared)
    # Where it is computed, and from which folder, does not matter.
    again = plan(tmp_path / "elsewhere").points
    assert [one.digest for one in again] == [one.digest for one in points]
    others = plan(tmp_path / "third", settings={"momentum": 0.5}).points
    assert not {one.digest for one in others} & {one.digest for one in points}


def test_the_baseline_is_repeated_for_seeds_and_nets(tmp_path: Path) -> None:
    axes = {
        "random_seed": [1, 2],
        "bang_param.beta": [1.0, 1.1],
        "net": [{"name": name, "net": "net.prototxt", "model": "model.yaml"} for name in "ab"],
    }
    points = plan(tmp_path, axes=axes, net=None, model=None).points
    baselines = [dict(one.values) for one in points if one.baseline]
    assert baselines == [{"random_seed": seed, "net": net} for seed in (1, 2) for net in "ab"]
    assert len(points) == 4 + 8


def test_the_examples_are_as_in_the_papers() -> None:
    folder = CHECKOUT / "solvers" / "sweeps"
    sizes = {
        path.stem: [len(axis.values) for axis in read_sweep(path).axes]
        for path in folder.glob("*.yaml")
    }
    assert sizes == {
        "bang_cifar10_quick": [13, 13],
        "bang_cifar10_quick_7x7": [7, 7],
        "bang_cifar10_quick_seeds": [6, 3],
        "bang_lenet": [13, 13],
        "bang_lenet_7x7": [7, 7],
        "bang_lenet_seeds": [6, 3],
        "bang_table1": [7, 5],
        "bang_table2": [8],
        "digits": [2, 2],
        "lenets": [20],
        "robust_lenet": [4, 3],
    }


@pytest.mark.parametrize("name", ["bang_lenet", "bang_cifar10_quick"])
def test_seeds_are_repeated_at_the_corners_and_the_centre(name: str) -> None:
    folder = CHECKOUT / "solvers" / "sweeps"
    grid = [axis.values for axis in read_sweep(folder / f"{name}.yaml").axes]
    (regular, *variants), _ = (one.values for one in read_sweep(folder / f"{name}_seeds.yaml").axes)
    assert not regular.settings
    ends = [(axis[0], axis[-1]) for axis in grid]
    wanted = {*product(*ends), tuple(axis[6] for axis in grid)}
    assert {tuple(one.settings.values()) for one in variants} == wanted


@pytest.mark.parametrize("name", ["bang_table1", "bang_table2"])
def test_the_tables_of_the_paper(name: str) -> None:
    variants = read_sweep(CHECKOUT / "solvers" / "sweeps" / f"{name}.yaml").axes[0]
    # The R1 of Table 1 is R0 with another seed.
    regular = {"R0": set()} if name == "bang_table1" else {"R0": set(), "R1": {"random_seed"}}
    trained = {f"B{number}": {"bang_param.beta", "bang_param.epsilon"} for number in range(6)}
    assert {one.name: set(one.settings) for one in variants.values} == regular | trained
    assert all(len(one.published) == 7 for one in variants.values)
    if name == "bang_table1":
        for one in variants.values:
            assert MODELS[one.name].beta == one.settings.get("bang_param.beta")
            assert MODELS[one.name].epsilon == one.settings.get("bang_param.epsilon")
            assert 100 * one.published["accuracy"] == pytest.approx(PAPER[one.name][0])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["0.01", 0.01], "has the value 0.01 twice"),
        ([1, "1.0"], "has the value '1.0' twice"),
        (list(range(100_001)), "has more than 100,000 values"),
        ({"from": 0, "to": "1e999999999", "step": 1}, "must be 1e-300 to 1e300 in size"),
        ({"from": 0, "to": 1e300, "step": 1e-300}, "has more than 100,000 values"),
    ],
)
def test_values_that_make_no_sense(values: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_values("the axis base_lr", values)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"axes": {"random_seed": list(range(400)), "max_iter": list(range(1, 301))}},
            "`axes:` have 120,000 points, more than 100,000",
        ),
        ({"evaluation": {"attacks": ["fgs"], "radii": [8, 8]}}, "`radii:` has a radius twice"),
        # They would share a column.
        ({"evaluation": {"attacks": ["fgs"], "radii": [8, 8.0000001]}}, "has a radius twice"),
        ({"evaluation": {"attacks": ["fgs"], "seed": 10**27}}, "`seed:` must be a whole number"),
    ],
)
def test_sweeps_that_make_no_sense(tmp_path: Path, changes: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_sweep(write_sweep(tmp_path, **changes))
