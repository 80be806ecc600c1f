"""Show noisy digits to people, and compare their accuracy with that of networks.

The human study of Uličný, Lundström and Byttner, 2016 (Figure 8), in four steps, all in one folder,
--output: `prepare` makes the images, `serve` shows them to people on a web page, `export` writes
their answers as CSV, and `plot` draws people's accuracy beside that of networks.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from typing import TYPE_CHECKING

from caffe_ext.cli.console import Console
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments, open_source, parse_images
from caffe_ext.cli.model_arguments import (
    DEMO,
    LENET,
    add_model_arguments,
    find_loadable,
    find_newest_weights,
)
from caffe_ext.cli.parser import add_again, add_output, check_at_least, check_at_most, parse_path
from caffe_ext.reporting import format_table, pluralize
from caffe_ext.runtime.checkout import ROOT, shorten_path, shorten_paths

if TYPE_CHECKING:
    from caffe_ext.models.loadable import LoadableModel
    from caffe_ext.studies.human.curves import Curve

OUTPUT = ROOT / "build" / "human_study"
MISSING = "the page needs Flask and waitress: `pip install caffe_ext[study]` brings them"
EPILOG = """\
`caffe-ext study human ACTION --help` shows the options of an action.

examples
  caffe-ext study human prepare
  caffe-ext study human serve
  caffe-ext study human export
  caffe-ext study human plot --weights lenets/*.caffemodel
"""
PREPARE = f"""\
Make the images that people see, with a model and labelled images, and store them.

A person sees 205 of them: 15 without noise; 15 with gradient sign noise at each of epsilon 0.07,
0.14, 0.21, 0.28, 0.34, 0.4; 15 with Gaussian noise at each of sigma 0.09, 0.18, 0.27, 0.36, 0.45,
0.54 (of pixels in [0, 1]); and 10 hard digits, if there are some.

models
  The model whose loss the gradient sign noise increases; by default the plain LeNet of `make demo`.

{IMAGES_HELP}"""
SERVE = """\
Serve the web page on which people take part. Ctrl-C ends it; the same command continues the study.

Every person gets a link, by which the study can be paused and continued. For each person, the
images, the answers and the seconds that they took are stored; no name, address, browser or date.
"""
EXPORT = """\
Write the answers as CSV: person, position, image, kind, level, label, answer, seconds.
"""
PLOT = """\
Draw the accuracy of people over the level of noise beside that of networks (Figure 8).

Networks classify the images that people see, and images with the sign of their own gradient. Bands
are 95% confidence intervals of the mean, t intervals over people and over networks: give several
networks, the paper has 20, trained alike from other seeds. Without --weights and --model, the plain
LeNet of `make demo` is the only one.

what is written to --output
  curves.json         accuracies with intervals, and all that they depend on
  curves.csv          one row per curve, kind of noise and level
  curves.png, .svg    the figure
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their options."""
    parser.usage = "%(prog)s ACTION [options]"
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, prog=parser.prog
    )
    for name, (about, description, add_options, _) in _ACTIONS.items():
        own = actions.add_parser(
            name,
            help=about,
            usage="%(prog)s [options]",
            description=description,
            formatter_class=parser.formatter_class,
        )
        add_options(own)
        add_output(own.add_argument_group("output"), OUTPUT, "everything about the study")
        own.set_defaults(parser=own)


def add_prepare_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prepare`."""
    add_model_arguments(parser, several=False)
    add_image_arguments(parser)
    add = parser.add_argument_group("study").add_argument
    add(
        "--hard-digits",
        type=parse_images,
        metavar="FOLDER",
        help="images of hard digits, white on black, in folders named 0 to 9; each person sees one "
        "of each; they are resized (default: none)",
    )
    add(
        "--per-level",
        type=int,
        default=15,
        metavar="N",
        help="images of each kind and level that a person sees (default: %(default)s)",
    )
    add(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="of the Gaussian noise, and of what each person sees (default: %(default)s)",
    )
    add_again(parser, "replace the images in --output, unless there are answers")
    add_device_argument(parser)


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve`."""
    add = parser.add_argument_group("server").add_argument
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0: all, so that other machines can reach the page "
        "(default: %(default)s)",
    )
    add("--port", type=int, default=8000, help="0: any that is free (default: %(default)s)")
    add(
        "--consent",
        type=parse_path,
        metavar="FILE",
        help="text that people agree to before they start, UTF-8; an empty line ends a paragraph "
        "(default: one that says what is stored)",
    )
    add(
        "--most-people",
        type=int,
        default=1000,
        metavar="N",
        help="how many can start (default: %(default)s)",
    )


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    _add_unfinished(parser)
    parser.add_argument("--csv", type=parse_path, metavar="FILE", help="default: answers.csv")


def add_plot_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `plot`."""
    add_model_arguments(parser, several=True)
    _add_unfinished(parser)
    parser.add_argument(
        "--limit",
        type=int,
        default=1000,
        metavar="N",
        help="images of each level that networks classify; 0: all (default: %(default)s)",
    )
    add_device_argument(parser)


def _add_unfinished(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unfinished",
        action="store_true",
        help="also the answers of people who have not classified all of their images",
    )


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments make no sense."""
    if arguments.action == "prepare":
        check_at_least(parser, arguments, 1, "per_level")
        check_at_least(parser, arguments, 0, "seed")
        check_at_most(parser, arguments, 2**32 - 1, "seed")
    if arguments.action == "plot":
        check_at_least(parser, arguments, 0, "limit")
    if arguments.action == "serve":
        check_at_least(parser, arguments, 1, "most_people")
        if not 0 <= arguments.port <= 65535:
            parser.error(f"--port must be 0 to 65535, not {arguments.port}")


def find_lenets(arguments: argparse.Namespace) -> "list[LoadableModel]":
    """Return the models that the arguments name, by default the plain LeNet of `make demo`.

    Raises FileNotFoundError and ValueError, each with a sentence for the user.
    """
    if arguments.model is None and arguments.weights is None:
        from caffe_ext.models.description import read_model

        weights = find_newest_weights(DEMO["LeNet"])
        if weights is None:
            raise FileNotFoundError(
                "no model found: run `make demo` to train one, or name yours with --model and "
                "--weights"
            )
        return [read_model(LENET, weights).with_name("LeNet")]
    return find_loadable(arguments)


def prepare(arguments: argparse.Namespace) -> None:
    """Make the images."""
    from caffe_ext.data import open_images
    from caffe_ext.studies.human.preparation import Preparation

    (model,) = find_lenets(arguments)
    source = open_source(arguments, model.class_numbers).sample(
        arguments.limit, arguments.sample_seed
    )
    hard = None
    if arguments.hard_digits is not None:
        hard = open_images(arguments.hard_digits, resize=source.image_shape[1:], grey=True)
    stimuli = Preparation(
        model,
        source,
        arguments.output,
        hard,
        per_subset=arguments.per_level,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        again=arguments.again,
    ).run(Console())
    pool = pluralize(len(stimuli.record.labels), "image")
    print(f"{model.name}; {source.selection} of {shorten_paths(source.origin)}")
    print(
        f"Each person sees {stimuli.per_person} images, drawn from {pool} at 13 levels and "
        + (
            pluralize(len(stimuli.record.hard_labels), "hard digit")
            if hard
            else "no hard digits (see --hard-digits)"
        )
    )
    print(f"The images: {shorten_path(arguments.output)}")


def serve_pages(arguments: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    try:
        import flask  # noqa: F401
        import waitress  # noqa: F401
    except ImportError:
        sys.exit(MISSING)
    from caffe_ext.runs.output_folder import claim_output
    from caffe_ext.studies.human.serve import is_local, read_consent, serve
    from caffe_ext.studies.human.server import create_app
    from caffe_ext.studies.human.stimuli import load_stimuli
    from caffe_ext.studies.human.store import AnswerStore

    consent = read_consent(arguments.consent)
    stimuli = load_stimuli(arguments.output)
    store = AnswerStore(arguments.output, stimuli.digest)
    if not is_local(arguments.host):
        Console().note(
            "other machines can reach the page: whoever knows the address can take part, and the "
            "connection is not encrypted. On the internet, let a web server with HTTPS pass "
            "requests on to 127.0.0.1 instead (docs/human-study.md)."
        )
    app = create_app(stimuli, store, consent, arguments.most_people)

    def announce(address: str) -> None:
        print(f"The study: {address}", flush=True)
        print("Ctrl-C ends the server; the answers stay.", flush=True)

    with claim_output(arguments.output):
        serve(app, arguments.host, arguments.port, announce)
    print(f"\n{format_people(*store.count_people())}")


def format_people(begun: int, finished: int) -> str:
    """Return how many people took part."""
    people = pluralize(begun, "person has", "people have")
    done = f"{finished:,} {'has' if finished == 1 else 'have'} finished"
    return f"{people} begun to answer; {done}."


def export(arguments: argparse.Namespace) -> None:
    """Write the answers."""
    from caffe_ext.evaluation.report import as_csv
    from caffe_ext.storage.atomic import write_text
    from caffe_ext.studies.human.answer_table import make_rows
    from caffe_ext.studies.human.stimuli import load_stimuli
    from caffe_ext.studies.human.store import AnswerStore

    stimuli = load_stimuli(arguments.output)
    store = AnswerStore(arguments.output, stimuli.digest)
    rows = make_rows(stimuli, store.read_answers(unfinished=arguments.unfinished))
    print(format_people(*store.count_people()))
    if not rows:
        more = "" if arguments.unfinished else "; --unfinished includes everyone who has started"
        sys.exit(f"there are no answers to write yet{more}")
    own = arguments.output / "answers.csv"
    path = arguments.csv or own
    if path.exists() and not (own.exists() and path.samefile(own)):
        sys.exit(f"{shorten_path(path)} exists: --csv names another file")
    write_text(path, as_csv(rows))
    print(f"{pluralize(len(rows), 'answer')}: {shorten_path(path)}")


def plot(arguments: argparse.Namespace) -> None:
    """Compute and draw the curves."""
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.studies.human.study import HumanStudy

    models = find_lenets(arguments)
    study = HumanStudy(
        arguments.output,
        models,
        arguments.limit or None,
        arguments.batch_size,
        arguments.unfinished,
    )
    with silence_caffe():
        curves = study.run(Console())
    print(f"{format_curves(curves)}\n")
    print("in brackets, for two or more: 95% t interval of the mean over people or networks")
    print(f"The figure: {shorten_path(arguments.output / 'curves.png')}, curves.svg")
    print("All figures: curves.csv and curves.json beside it")


def format_curves(curves: "list[Curve]") -> str:
    """Return the accuracies as a table: a row for each subset, a column for each curve."""
    cells: dict[tuple[str, float], list[str]] = {}
    for place, curve in enumerate(curves):
        for point in curve.points:
            key = (point.subset.kind, point.subset.level)
            accuracy = point.accuracy
            text = f"{accuracy.mean:.1%}"
            if accuracy.low is not None and accuracy.high is not None:
                text += f" ({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})"
            cells.setdefault(key, ["–"] * len(curves))[place] = text
    names = [curve.name.replace("networks, each on its own", "own") for curve in curves]
    rows = [(f"{kind} {level:g}" if level else kind, *row) for (kind, level), row in cells.items()]
    return format_table([("images", *names), *rows])


_ACTIONS = {
    "prepare": ("make the images", PREPARE, add_prepare_options, prepare),
    "serve": ("show them to people on a web page", SERVE, add_serve_options, serve_pages),
    "export": ("write the answers as CSV", EXPORT, add_export_options, export),
    "plot": ("draw their accuracy beside that of networks", PLOT, add_plot_options, plot),
}
"""Of each action: what it does in one line, its description, its options, and its function."""


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    _ACTIONS[arguments.action][3](arguments)
