"""Functions are verbs: the first word of each name in the package says what is done."""

import ast
from collections.abc import Iterator
from pathlib import Path

import caffe_ext

PACKAGE = Path(caffe_ext.__file__).parent
# Sorted. A new verb is welcome; a noun is not.
_VERBS = """
    absorb activate add advance align allow anneal announce append apply arrange ascend ask
    assess assign attack attempt average
    begin bisect bound broadcast build
    call cancel centre certify change check choose claim classify clear climb clip close collect
    compare complete compose compute concatenate concretize confirm connect construct
    convert copy correlate count create cut
    decide decode decompose decorate defer deform descend describe detect differentiate discard
    download draw drop
    embed enable encode end enlarge escape estimate evaluate examine exchange expand
    explain export
    feed fetch find finish fit fix flatten flush fold follow forget fork form format
    gather get go group
    halve hash hold
    identify import initialize insert interpolate intersect iterate
    join jump
    keep
    leave limit list listen load locate lock look
    make map match measure merge minimize move multiply
    name normalize note number
    offer open
    pad parse perturb pick plan plot pluralize pool predict prefix prepare print probe
    project propose pull put quench
    query
    read receive record reduce refuse register regroup remove render reorder replace report require
    reshape resolve restore resume round run
    sample save say scale scatter score search seek select serve set settle shift shorten show
    shrink
    shuffle silence smooth solve split stack stage start step stop stretch strip submit suggest sum
    summarize surround swap switch sync synchronize
    take tell tighten time train transform transliterate truncate try turn
    undo unite use
    validate
    walk warn warp watch weigh weight widen work wrap write
"""
VERBS = _VERBS.split()
# The first words of predicates and of conversions.
CLAIMS = ["adds", "describes", "has", "is", "looks", "matches", "may", "needs", "uses"]
CONVERSIONS = ["as", "from", "to", "with"]
# Names without their underscores, and why they stay.
EXCEPTIONS = {
    "main": "the entry point of a program",
    **dict.fromkeys(
        ["accuracy", "features", "gradient", "logits", "probabilities"],
        "what every model has, by the names of the field",
    ),
    **dict.fromkeys(
        ["backward", "backward_from", "forward"],
        "the passes through a network, as Caffe and PyTorch call them",
    ),
    **dict.fromkeys(["cross_entropy", "log_softmax", "softmax"], "functions of mathematics"),
    **dict.fromkeys(
        [
            "decoupled_direction_and_norm",
            "deepfool",
            "fast_minimum_norm",
            "lbfgs",
            "line_search",
        ],
        "algorithms known by these names",
    ),
    **dict.fromkeys(["class_gradient", "loss_gradient"], "ART's interface"),
    "exec_module": "the interface of importlib's loaders",
    "extra_repr": "PyTorch's interface",
    "readinto": "the interface of Python's files",
    "setup": "the interface of Dask's plugins",
}
# What is not called like a function, or is a part of another definition.
APART = {"cached_property", "fixture", "getter", "overload", "property", "setter"}


def find_functions() -> Iterator[tuple[str, str]]:
    """Yield the place and the name, without underscores, of each function and method."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            decorators = [
                one.func if isinstance(one, ast.Call) else one for one in node.decorator_list
            ]
            if APART & {ast.unparse(one).rpartition(".")[2] for one in decorators}:
                continue
            if not node.name.startswith("__"):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.name.strip("_")


FOUND = list(find_functions())
FIRST_WORDS = {name.split("_")[0] for _, name in FOUND if name not in EXCEPTIONS}


def test_functions_are_verbs() -> None:
    known = {*VERBS, *CLAIMS, *CONVERSIONS}
    nouns = [
        f"{place}: {name}"
        for place, name in FOUND
        if name not in EXCEPTIONS and name.split("_")[0] not in known
    ]
    assert not nouns, (
        f"{', '.join(nouns)}: a function's name begins with a verb (compute_, find_, read_ ...); "
        "what a method cheaply says about its object is a property; a new verb goes into VERBS"
    )


def test_the_lists_are_sorted_and_have_nothing_unused() -> None:
    for words in (VERBS, CLAIMS, CONVERSIONS):
        assert words == sorted(set(words))
        unused = set(words) - FIRST_WORDS
        assert not unused, (
            f"no function begins with {', '.join(sorted(unused))}: remove from the list"
        )
    unused = set(EXCEPTIONS) - {name for _, name in FOUND}
    assert not unused, f"no function is called {', '.join(sorted(unused))}: take it off EXCEPTIONS"
