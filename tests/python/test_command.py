"""The command caffe-ext: its help, its subcommands, completion, and what records say of it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from caffe_ext import __version__
from caffe_ext.cli import main as command
from caffe_ext.cli.init import copy_networks
from caffe_ext.cli.parser import name_program
from data_samples import CHECKOUT

# What `make` has installed beside Python: the editable install's entry point.
INSTALLED = Path(sys.executable).with_name("caffe-ext")
HEAVY = ("caffe", "numpy", "h5py", "PIL", "cv2", "matplotlib", "tqdm", "shtab")


def run(*arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the installed command in another folder."""
    return subprocess.run(
        [INSTALLED, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_command_works_in_any_folder(tmp_path: Path) -> None:
    helped = run("--help", folder=tmp_path)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert all(f"\n  {name} " in helped.stdout for name in command.SUBCOMMANDS)
    assert run("--version", folder=tmp_path).stdout == f"caffe-ext {__version__}\n"
    nothing = run(folder=tmp_path)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert nothing.stderr == helped.stdout


def test_init_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "prototxt").mkdir()
    link = tmp_path / "prototxt" / "lenet.yaml"
    link.symlink_to(tmp_path / "elsewhere")
    copied, kept = copy_networks(tmp_path)
    assert (kept, link.is_symlink(), (tmp_path / "elsewhere").exists()) == (1, True, False)
    assert copy_networks(tmp_path) == (0, copied + 1)


def test_a_folder_that_init_has_filled_is_worked_in(tmp_path: Path) -> None:
    assert run("init", "project", folder=tmp_path).returncode == 0
    project = tmp_path / "project"
    written = run("get-data", "digits", "--no-download", folder=project)
    assert written.returncode == 0, written.stderr
    assert (project / "data" / "digits" / "train_lmdb" / "data.mdb").is_file()
    where = "from caffe_ext.runtime.checkout import ROOT; print(ROOT)"
    for folder, root in ((project, project), (tmp_path, CHECKOUT)):
        printed = subprocess.run(
            [sys.executable, "-c", where], cwd=folder, capture_output=True, text=True, check=True
        )
        assert printed.stdout == f"{root}\n"


@pytest.mark.parametrize("name", command.SUBCOMMANDS)
def test_every_subcommand_has_its_help(name: str, tmp_path: Path) -> None:
    helped = run(name, "--help", folder=tmp_path)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith(f"usage: caffe-ext {name} ")
    assert "caffe-ext " in helped.stdout.partition("examples")[2]


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in command.SUBCOMMANDS)]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import json, sys\n"
        "from caffe_ext.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    loaded = json.loads(ran.stdout.splitlines()[-1])
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("evalaute", "there is no subcommand 'evalaute'; did you mean evaluate?"),
        ("noise_curves", "there is no subcommand 'noise_curves'; did you mean noise-curves?"),
        ("zzz", "there is no subcommand 'zzz'; see caffe-ext --help"),
        ("--versoin", "there is no option '--versoin'; did you mean --version?"),
    ],
)
def test_a_mistyped_subcommand(typed: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([typed]) == 2
    assert capsys.readouterr().err == f"caffe-ext: {answer}\n"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["certify", "bound"], "; did you mean bounds?"),
        (["certify", "bounds", "--methods", "crwn"], "; did you mean crown?"),
        (["certify", "bounds", "--methods", "zzz"], ")"),
    ],
)
def test_a_mistyped_choice(typed: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(typed)
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "invalid choice" in said
    assert said.endswith(says)


def test_help_as_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["help"]) == 0
    assert capsys.readouterr().out == f"{command.format_usage()}\n"
    with pytest.raises(SystemExit) as stopped:
        command.main(["help", "pass"])
    assert stopped.value.code == 0
    assert f"usage: {name_program('pass')}" in capsys.readouterr().out


@pytest.mark.parametrize("options", [("doctor", "--json"), ("completion", "bash")])
def test_a_reader_that_has_gone(options: tuple[str, ...]) -> None:
    """`caffe-ext doctor | head -1`: no sentence, and the shell's exit status of SIGPIPE."""
    started = subprocess.Popen(
        [sys.executable, "-m", "caffe_ext.cli", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout is not None
    started.stdout.close()
    assert started.wait() == 141
    assert started.stderr is not None
    assert b"roken pipe" not in started.stderr.read()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--limti", "--limit"), ("--ouptut=x", "--output"), ("--zzz", ""), ("extra", "")],
)
def test_a_mistyped_option(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["evaluate", typed])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"{name_program('evaluate')}: error: unrecognized arguments: {typed}")
    assert said.endswith(f"; did you mean {meant}?" if meant else typed)


def test_a_program_is_called_as_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for started, name in (
        ("tools/hotcold.py", "hotcold.py"),
        ("/usr/bin/caffe-ext", "caffe-ext hotcold"),
        ("/x/caffe_ext/cli/__main__.py", "caffe-ext hotcold"),
    ):
        monkeypatch.setattr(sys, "argv", [started])
        assert name_program("hotcold") == name
    tool = [sys.executable, str(CHECKOUT / "tools" / "hotcold.py"), "--help"]
    assert subprocess.run(tool, capture_output=True, text=True, check=True).stdout.startswith(
        "usage: hotcold.py "
    )


def test_the_old_name_of_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    for name in command.SUBCOMMANDS:
        parser = command.import_subcommand(name).make_parser()
        if "--again" in parser.format_help():
            assert "--force" not in parser.format_help()
    parser = command.import_subcommand("get-data").make_parser()
    assert parser.parse_args(["mnist"]).again is False
    assert parser.parse_args(["mnist", "--again"]).again is True
    assert capsys.readouterr().err == ""
    assert parser.parse_args(["mnist", "--force"]).again is True
    assert "--force is deprecated; use --again" in capsys.readouterr().err


def test_bash_completes_subcommands_options_and_choices(tmp_path: Path) -> None:
    script = run("completion", "bash", folder=tmp_path)
    assert (script.returncode, script.stderr) == (0, "")
    program = script.stdout + (
        "complete_words() {\n"
        '  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n'
        '  _shtab_caffe_ext; echo "${COMPREPLY[@]}"\n'
        "}\n"
        "complete_words caffe-ext hot\n"
        "complete_words caffe-ext hotcold --ima\n"
        "complete_words caffe-ext get-data cif\n"
    )
    ran = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["hotcold", "--images --image-order", "cifar10"]


def test_zsh_gets_a_script_and_an_unknown_shell_a_sentence(tmp_path: Path) -> None:
    assert run("completion", "zsh", folder=tmp_path).stdout.startswith("#compdef caffe-ext")
    unknown = run("completion", "csh", folder=tmp_path)
    assert unknown.returncode == 2
    assert "invalid choice: 'csh'" in unknown.stderr


@pytest.mark.parametrize(
    ("started", "recorded"),
    [
        ([str(INSTALLED)], "caffe-ext digits --output 'a b'"),
        ([sys.executable, "-m", "caffe_ext.cli"], "python -m caffe_ext.cli digits --output 'a b'"),
        ([sys.executable, "{tool}"], "python {tool} digits --output 'a b'"),
    ],
)
def test_records_have_the_command_as_typed(
    started: list[str], recorded: str, tmp_path: Path
) -> None:
    tool = tmp_path / "tool.py"
    text = "from caffe_ext.storage.provenance import collect_provenance\nimport pathlib, sys\n"
    tool.write_text(text + "print(collect_provenance().command)\n")
    # Each form runs a module that prints what provenance says, in place of a program.
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import caffe_ext.cli.main as m\nm.main = lambda *_: exec({tool.read_text()!r})\n"
    )
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [part.format(tool=tool) for part in (*started, "digits", "--output", "a b")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == recorded.format(tool=tool) + "\n"


@pytest.mark.parametrize("option", ["--output", "--model", "--labels", "--images", "--data-dir"])
def test_a_path_that_is_empty(tmp_path: Path, option: str) -> None:
    """It is what an unset variable of the shell gives, and no name for the current folder."""
    done = run("hotcold", option, "", folder=tmp_path)
    assert done.returncode == 2
    assert re.search("must .* empty text$", done.stderr.rstrip())
    assert not list(tmp_path.iterdir())
