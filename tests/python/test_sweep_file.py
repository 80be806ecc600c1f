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
from caffe_ext.sweeps.fields import set_field
from caffe_ext.sweeps.file import read_sweep
from caffe_ext.sweeps.sweep import Sweep
from caffe_ext.sweeps.values import read_values
from sweep_samples import plan_sweep, write_sweep

CHECKOUT = Path(__file__).parents[2]


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
        plan_sweep(tmp_path, data="mnist")
    # A sweep has no --data-dir.
    with pytest.raises(DataError, match=r"CIFAR-10 is not on this machine .* or in CAFFE_EXT_DATA"):
        plan_sweep(tmp_path, data="cifar10")


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
    points = plan_sweep(tmp_path).points
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
    again = plan_sweep(tmp_path / "elsewhere").points
    assert [one.digest for one in again] == [one.digest for one in points]
    others = plan_sweep(tmp_path / "third", settings={"momentum": 0.5}).points
    assert not {one.digest for one in others} & {one.digest for one in points}


def test_the_baseline_is_repeated_for_seeds_and_nets(tmp_path: Path) -> None:
    axes = {
        "random_seed": [1, 2],
        "bang_param.beta": [1.0, 1.1],
        "net": [{"name": name, "net": "net.prototxt", "model": "model.yaml"} for name in "ab"],
    }
    points = plan_sweep(tmp_path, axes=axes, net=None, model=None).points
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
        "robust_lenet": [6, 3],
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
        ({"evaluation": {"cascade": ["autoattack"]}}, "within radii: `radii:` is missing"),
        ({"evaluation": {"attacks": ["fgs"], "seed": 10**27}}, "`seed:` must be a whole number"),
    ],
)
def test_sweeps_that_make_no_sense(tmp_path: Path, changes: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_sweep(write_sweep(tmp_path, **changes))
