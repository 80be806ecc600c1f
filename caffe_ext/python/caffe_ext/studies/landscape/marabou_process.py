"""Marabou's process: python marabou_process.py PROBLEM.json ANSWER.json; see marabou.py.

It imports nothing of the package, so that it starts at once.
"""

# maraboupy is an option: this module can be imported without it.
# ruff: noqa: PLC0415

import json
import sys
from pathlib import Path
from time import monotonic
from typing import Any


def build_query(problem: dict[str, Any]) -> tuple[Any, list[int]]:
    """Return a query that has the net, in the box, and the variables of the logits."""
    from maraboupy import MarabouCore

    query = MarabouCore.InputQuery()
    inputs = list(range(len(problem["lower"])))
    total = len(inputs)
    sizes = [len(layer) for layer in problem["layers"]]
    query.setNumberOfVariables(total + 2 * sum(sizes[:-1]) + sizes[-1])
    for variable, lower, upper in zip(inputs, problem["lower"], problem["upper"], strict=True):
        query.setLowerBound(variable, lower)
        query.setUpperBound(variable, upper)
    below = inputs
    for number, layer in enumerate(problem["layers"]):
        values = list(range(total, total + len(layer)))
        total += len(layer)
        lowers, uppers = problem["bounds"][number]
        for variable, row, lower, upper in zip(values, layer, lowers, uppers, strict=True):
            equation = MarabouCore.Equation()
            for factor, other in zip(row[:-1], below, strict=True):
                equation.addAddend(factor, other)
            equation.addAddend(-1.0, variable)
            equation.setScalar(-row[-1])
            query.addEquation(equation)
            query.setLowerBound(variable, lower)
            query.setUpperBound(variable, upper)
        if number < len(sizes) - 1:
            outputs = list(range(total, total + len(layer)))
            total += len(layer)
            for before, after, upper in zip(values, outputs, uppers, strict=True):
                MarabouCore.addReluConstraint(query, before, after)
                query.setLowerBound(after, 0.0)
                query.setUpperBound(after, max(upper, 0.0))
            below = outputs
        else:
            below = values
    for place, variable in enumerate(inputs):
        query.markInputVariable(variable, place)
    for place, variable in enumerate(below):
        query.markOutputVariable(variable, place)
    return query, below


def ask(problem: dict[str, Any], logit: int, limit: float, sign: int, seconds: float) -> Any:
    """Return the logit at an input where sign z <= limit; None if there is none; "unknown"."""
    from maraboupy import MarabouCore

    query, outputs = build_query(problem)
    variable = outputs[logit]
    if sign > 0:
        query.setUpperBound(variable, limit)
    else:
        query.setLowerBound(variable, -limit)
    options = MarabouCore.Options()
    options._verbosity = 0
    options._timeoutInSeconds = max(1, int(seconds))
    verdict, values, _ = MarabouCore.solve(query, options, "")
    if verdict == "sat":
        return evaluate(problem, [values[place] for place in range(len(problem["lower"]))])[logit]
    return None if verdict == "unsat" else "unknown"


def evaluate(problem: dict[str, Any], point: list[float]) -> list[float]:
    """Return the logits at an input, moved into the box if rounding has put it outside."""
    hidden = [
        min(max(value, lower), upper)
        for value, lower, upper in zip(point, problem["lower"], problem["upper"], strict=True)
    ]
    for number, layer in enumerate(problem["layers"]):
        values = [
            row[-1] + sum(factor * value for factor, value in zip(row[:-1], hidden, strict=True))
            for row in layer
        ]
        last = number == len(problem["layers"]) - 1
        hidden = values if last else [max(value, 0.0) for value in values]
    return hidden


def bisect(problem: dict[str, Any], logit: int, sign: int) -> tuple[float, float]:
    """Return a bound on the least sign z, and a value that is reached."""
    lower, upper = (problem["bounds"][-1][side][logit] for side in (0, 1))
    bound = lower if sign > 0 else -upper
    reached = sign * problem["start"][logit]
    deadline = monotonic() + problem["seconds"]
    while reached - bound > problem["tolerance"] * (upper - lower):
        left = deadline - monotonic()
        if left <= 0:
            break
        middle = (bound + reached) / 2
        found = ask(problem, logit, middle, sign, left)
        if found == "unknown":
            break
        if found is None:
            bound = middle
        elif sign * found < reached:
            reached = sign * found
        else:  # by the solver's tolerances only
            break
    return bound, reached


def main() -> None:
    """Read the problem and write the answer."""
    problem = json.loads(Path(sys.argv[1]).read_text())
    answer: dict[str, list[float]] = {
        name: [] for name in ("least", "most", "reached_least", "reached_most")
    }
    for logit in range(len(problem["start"])):
        bound, reached = bisect(problem, logit, 1)
        answer["least"].append(bound)
        answer["reached_least"].append(reached)
        bound, reached = bisect(problem, logit, -1)
        answer["most"].append(-bound)
        answer["reached_most"].append(-reached)
    Path(sys.argv[2]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
