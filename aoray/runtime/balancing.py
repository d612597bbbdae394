"""Which node each actor should be on: a pure rule, `(actors, nodes) -> moves`. No Ray, no clock.

Actors are to be spread evenly by what nodes are good for: the load of a node is its actors divided by its
weight. An actor that is on no candidate (its node is being drained, or is of another type) moves to the least
loaded one; after that one moves from the most to the least loaded for as long as that makes the higher of the
two loads lower.

Invariants: the same arguments give the same moves; what `moves` leads to needs no move; nothing moves for
nothing. An actor that is nowhere (Ray is restarting it) is left alone by `moves`, and placed by
`assign_nodes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def assign_nodes(actors: Iterable[str], taken: Iterable[str], weights: Mapping[str, float]) -> dict[str, str]:
    """Choose a node for each of these new actors.

    `taken` has the node of each actor that is there already, and `weights` the nodes that may hold them.
    """
    counts = _counted(taken, weights)
    chosen = {}
    for actor in actors if weights else ():
        chosen[actor] = _lightest(counts, weights)
        counts[chosen[actor]] += 1
    return chosen


def moves(
    where: Mapping[str, str], weights: Mapping[str, float], pinned: Iterable[str] = ()
) -> dict[str, str]:
    """Return the actors that should be on another node, and on which.

    `where` has those whose node is known; `pinned` are the nodes of others that count, and do not move.
    """
    if not weights:
        return {}
    counts = _counted([*where.values(), *pinned], weights)
    moved = {}
    for actor in sorted(where):
        if where[actor] not in counts:
            moved[actor] = _lightest(counts, weights)
            counts[moved[actor]] += 1
    return moved | _evened(where, counts, weights)


def _evened(where: Mapping[str, str], counts: dict[str, int], weights: Mapping[str, float]) -> dict[str, str]:
    """Moves from the heaviest node to the lightest, until none helps."""
    movable: dict[str, list[str]] = {node: [] for node in counts}
    for actor in sorted(where):
        if where[actor] in counts:
            movable[where[actor]].append(actor)
    moved: dict[str, str] = {}
    while True:
        low = _lightest(counts, weights)
        held = [node for node in counts if movable[node]]
        high = max(held, key=lambda node: counts[node] / weights[node], default=low)
        if counts[high] / weights[high] <= (counts[low] + 1) / weights[low]:
            return moved
        actor = movable[high].pop()
        moved[actor] = low
        counts[high] -= 1
        counts[low] += 1


def _counted(taken: Iterable[str], weights: Mapping[str, float]) -> dict[str, int]:
    counts = dict.fromkeys(weights, 0)
    for node in taken:
        if node in counts:
            counts[node] += 1
    return counts


def _lightest(counts: Mapping[str, int], weights: Mapping[str, float]) -> str:
    """Where one more actor weighs least; the first of equals."""
    return min(counts, key=lambda node: (counts[node] + 1) / weights[node])
