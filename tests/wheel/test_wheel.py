"""The wheel in an empty environment, by a user who has nothing else: installed, used, removed.

The third-party packages are those of the build, found by PYTHONPATH, so that no network is needed;
of these, only the ones that the wheel depends on, so that one that it should depend on is missed.
"""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BUILD = Path(os.environ["CAFFE_EXT_BUILD"])
CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = next((BUILD / "venv" / "lib").glob("python*/site-packages"))
WHEEL = next((BUILD / "wheel").glob("*.whl"))
LARGEST = 60e6  # bytes
# In one process they share libraries' names: protobuf, HDF5, OpenCV, BLAS, OpenMP.
TOGETHER = ("caffe_ext", "cv2", "h5py", "google.protobuf.message", "onnxruntime", "torch")


def is_there(module: str) -> bool:
    """Tell whether the build's environment has a package."""
    return module == "caffe_ext" or (PACKAGES / module.partition(".")[0]).exists()


def list_dependencies() -> Iterator[Distribution]:
    """Yield what pip installs with the wheel, without extras, as the build has it."""
    installed = {canonicalize_name(one.name): one for one in distributions(path=[str(PACKAGES)])}
    wanted = [canonicalize_name("caffe_ext")]
    seen = {*wanted}
    while wanted:
        for line in installed[wanted.pop()].requires or ():
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            if name in seen or not (
                requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ):
                continue
            assert not requirement.extras, line
            seen.add(name)
            wanted.append(name)
            yield installed[name]


def link_dependencies(folder: Path) -> None:
    """Make a folder in which Python finds the wheel's dependencies, and nothing else."""
    folder.mkdir()
    for dependency in list_dependencies():
        for name in {file.parts[0] for file in dependency.files or ()} - {"..", "__pycache__"}:
            link = folder / name
            if not link.exists():
                link.symlink_to(PACKAGES / name)


class Place:
    """An environment with the wheel, and a folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.environment, self.folder = folder / "environment", folder / "work"
        self.dependencies = folder / "dependencies"
        self.folder.mkdir()
        link_dependencies(self.dependencies)
        subprocess.run([sys.executable, "-m", "venv", self.environment], check=True)

    def run(
        self, *command: str | Path, packages: Path | None = None, status: int = 0
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment with no variable but these, HOME not writable."""
        variables = {"PATH": f"{self.environment / 'bin'}:/usr/bin:/bin", "HOME": "/proc"}
        variables["PYTHONPATH"] = str(packages or self.dependencies)
        done = subprocess.run(
            [self.environment / "bin" / command[0], *command[1:]],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        says = f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == status, says
        return done

    def pip(self, *arguments: str | Path) -> None:
        options = ("--disable-pip-version-check", "--no-cache-dir")
        self.run("pip", *options, *arguments, packages=self.folder)  # none

    def files(self) -> set[Path]:
        """Return all files of the environment but compiled Python."""
        paths = self.environment.rglob("*")
        return {path for path in paths if path.suffix != ".pyc" and path.name != "__pycache__"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("wheel"))
    place.pip("install", "--no-deps", "--no-index", WHEEL)
    place.run("caffe-ext", "init")
    return place


def test_no_file_depends_on_where_it_was_built() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        for name in wheel.namelist():
            content = wheel.read(name)
            for folder in (BUILD, CHECKOUT):
                assert os.fsencode(folder) not in content, f"{name} names {folder}"


def test_nothing_is_missing_or_too_large() -> None:
    assert WHEEL.stat().st_size < LARGEST
    with zipfile.ZipFile(WHEEL) as wheel:
        names = wheel.namelist()
    programs = {path.name for path in (BUILD / "bin").iterdir()}
    assert {name.split("/")[-1][:-3] for name in names if "/lib/programs/" in name} == programs
    for name in ("prototxt", "solvers"):
        files = {path.name for path in (CHECKOUT / name).rglob("*") if path.is_file()}
        packed = {path.split("/")[-1] for path in names if f"caffe_ext/share/{name}/" in path}
        assert packed == files
    assert any("licenses/bundled/libprotobuf" in name for name in names)


def test_doctor_finds_all_in_the_environment(place: Place) -> None:
    findings = json.loads(place.run("caffe-ext", "doctor", "--json").stdout)
    found = {finding["about"]: finding for finding in findings}
    for about in ("caffe_ext", "packages", "Caffe", "plug-in", "program", "BLAS"):
        assert found[about]["status"] == "ok", found[about]
    for about in ("caffe_ext", "Caffe", "plug-in", "program"):
        assert str(place.environment) in found[about]["found"]


def test_train_attack_evaluate(place: Place) -> None:
    place.run("caffe-ext", "get-data", "digits")
    brief = place.folder / "brief.prototxt"
    text = (place.folder / "solvers" / "lenet_bang.prototxt").read_text()
    brief.write_text(
        text.replace("max_iter: 10000", "max_iter: 60").replace("test_iter: 100", "test_iter: 2")
    )
    network = place.folder / "prototxt" / "lenet_train_test.prototxt"
    network.write_text(network.read_text().replace("data/mnist/", "data/digits/"))
    trained = place.run("caffe", "train", f"--solver={brief}")
    assert "Optimization Done." in trained.stderr
    assert "conv1_log10_eta_mean" in trained.stderr
    weights = str(next(place.folder.rglob("*_iter_60.caffemodel")))
    found = place.run("caffe-ext", "hotcold", "--weights", weights, "--limit", "5")
    assert "HC1" in found.stdout
    place.run(
        *("caffe-ext", "evaluate", "--quick", "--limit", "20", "--output", "report"),
        *("--weights", weights),
    )
    assert (place.folder / "report" / "report.html").is_file()


def test_a_layer_in_python_runs_in_caffe(place: Place) -> None:
    (place.folder / "double.py").write_text(
        "import caffe\n\n\nclass Double(caffe.Layer):\n"
        "    def setup(self, bottom, top): pass\n"
        "    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)\n"
        "    def forward(self, bottom, top): top[0].data[...] = 2 * bottom[0].data\n"
        "    def backward(self, top, down, bottom): pass\n"
    )
    (place.folder / "net.prototxt").write_text(
        'layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 } } }\n'
        'layer { name: "y" type: "Python" bottom: "x" top: "y"\n'
        '        python_param { module: "double" layer: "Double" } }\n'
    )
    program = f"import sys; sys.path.insert(0, {str(place.folder)!r}); sys.argv[0] = 'caffe'\n"
    program += "from caffe_ext._programs import main; main()"
    timed = place.run("python", "-c", program, "time", "--model=net.prototxt", "--iterations=1")
    assert "Average Forward pass" in timed.stderr


def test_programs_end_with_their_status(place: Place) -> None:
    caffe = place.environment / "bin" / "caffe"
    done = subprocess.run([caffe, "train"], capture_output=True, text=True, check=False)
    assert done.returncode not in (0, -6), done.stderr
    assert "--solver" in done.stderr or "solver" in done.stderr
    assert "Traceback" not in done.stderr


def test_programs_in_python_explain_themselves_without_extras(place: Place) -> None:
    names = [path.name for path in (place.environment / "bin").glob("*.py")]
    assert {"classify.py", "detect.py", "draw_net.py", "train.py"} < set(names)
    for name in {*names} - {"extract_seconds.py", "plot_training_log.py"}:  # these have no --help
        assert "usage:" in place.run(name, "--help").stdout
    assert "Usage:" in place.run("plot_training_log.py").stdout


@pytest.mark.parametrize(
    "command, needed",
    [
        ("caffe-ext export-onnx prototxt/lenet.yaml", "caffe_ext[onnx]"),
        ("caffe-ext import-onnx model.onnx", "caffe_ext[onnx]"),
        ("caffe-ext study human serve", "caffe_ext[study]"),
        ("caffe-ext sweep solvers/sweeps/robust_lenet.yaml", "caffe_ext[sweep]"),
        ("detect.py --crop_mode list windows.csv found.csv", "caffe_ext[detect]"),
        ("draw_net.py prototxt/lenet_train_test.prototxt net.png", "caffe_ext[draw]"),
        ("train.py --solver solvers/lenet_sgd.prototxt", "NCCL"),
    ],
)
def test_a_missing_extra_is_one_sentence(place: Place, command: str, needed: str) -> None:
    says = place.run(*command.split(), status=1).stderr
    assert needed in says.splitlines()[-1]
    assert "Traceback" not in says


@pytest.mark.parametrize("first", TOGETHER)
def test_imports_in_any_order(place: Place, first: str) -> None:
    if not is_there(first):
        pytest.skip(f"{first} is not installed")
    others = [name for name in TOGETHER if name != first and is_there(name)]
    orders = [[first, second] for second in (*others, "caffe")]
    program = (
        "import importlib, json, os, sys\n"
        "for order in json.loads(sys.argv[1]):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        for name in order: importlib.import_module(name)\n"
        "        import caffe, caffe_ext, cv2, h5py, numpy\n"
        "        assert 'BANG' in caffe_ext.PLUGIN.read_bytes().decode('latin-1')\n"
        "        with h5py.File('in_memory', 'w', driver='core', backing_store=False) as file:\n"
        "            file['x'] = numpy.arange(9)\n"
        "        assert cv2.imencode('.png', numpy.zeros((4, 4), 'u1'))[0]\n"
        "        assert 'GaussianNoise' in list(caffe.layer_type_list())\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0, order\n"
    )
    place.run("python", "-c", program, json.dumps(orders), packages=PACKAGES)


def test_uninstalling_leaves_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    before = place.files()
    place.pip("install", "--no-deps", "--no-index", WHEEL)
    place.run("caffe-ext", "--help")
    place.pip("install", "--no-deps", "--no-index", "--force-reinstall", WHEEL)
    place.pip("uninstall", "--yes", "caffe_ext")
    assert place.files() == before
