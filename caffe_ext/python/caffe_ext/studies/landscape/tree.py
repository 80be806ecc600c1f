"""The disconnectivity graph: at which energy the minima become connected.

Edges connect two minima at an energy: at a transition state its own, on a path the highest one,
which is an upper bound. Taken from the lowest edge up, each one that connects two groups of minima
merges them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Edge:
    """Two minima, by their numbers, and the energy at which they are connected.

    certain  by a transition state, not only by a path
    """

    energy: float
    one: int
    other: int
    certain: bool


@dataclass(eq=False)
class Branch:
    """Minima that are connected at an energy: a minimum alone, or two or more branches merged.

    minima    their numbers
    certain   the edge that merged them is that of a transition state
    """

    energy: float
    minima: list[int]
    certain: bool = True
    parts: list["Branch"] = field(default_factory=list)


def build_tree(energies: Sequence[float], edges: Sequence[Edge]) -> list[Branch]:
    """Return the groups of minima that are connected, the largest first.

    energies  of the minima, by number
    """
    groups = {number: Branch(energy, [number]) for number, energy in enumerate(energies)}
    for edge in sorted(edges, key=lambda it: (it.energy, not it.certain)):
        one, other = groups[edge.one], groups[edge.other]
        if one is other:
            continue
        parts = sorted((one, other), key=lambda it: min(energies[n] for n in it.minima))
        merged = Branch(edge.energy, one.minima + other.minima, edge.certain, parts)
        for number in merged.minima:
            groups[number] = merged
    distinct = {id(branch): branch for branch in groups.values()}
    return sorted(distinct.values(), key=lambda it: (-len(it.minima), it.energy))
