"""Balancing: which node each actor should be on. A pure rule, `(actors, nodes) -> moves`, without Ray or a
clock.

Actors are spread evenly over the nodes: the load of a node is its number of actors divided by its weight. An
actor whose node is no candidate (it is being drained, or is of another type) moves to the least loaded
candidate. After that, one actor at a time moves from the most to the least loaded node, as long as this
lowers the higher of the two loads.

Invariants: the same arguments give the same moves; after the moves no further move is needed; there are no
needless moves. An actor that is on no node (Ray is restarting it) is ignored by `moves`, and placed by
`assign_nodes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def assign_nodes(actors: Iterable[str], taken: Iterable[str], weights: Mapping[str, float]) -> dict[str, str]:
    """Choose a node for each of these new actors.

    `taken` are the nodes of the actors that exist already, and `weights` the nodes that may hold actors.
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
    """Return the actors that should move, each with its new node.

    `where` are the actors whose node is known. `pinned` are the nodes of other actors, which count and do not
    move.
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
    """Return moves from the most to the least loaded node, until no move helps."""
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
    """Return the node on which one more actor weighs least, the first of equals."""
    return min(counts, key=lambda node: (counts[node] + 1) / weights[node])
