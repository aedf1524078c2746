"""Which entries of failing rows are wrong: decoding, and halving the columns for all rows at once.

The directions' y of row i is (r_i . S v_d). If one entry j alone is off, y_d = r_ij S_j v_dj: the
column of the directions of which y is a multiple is the wrong one. Several wrong entries of a row
are separated by halving the columns with the same directions: the other half's y is the
difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.rows import Array
from fastgradcheck.search.halving import EXTRA_DIRECTIONS, MANY, sizes_within
from fastgradcheck.search.locate import CAP, SAMPLED

CHANCE = 0.05
"""Halves are measured along so many directions that fewer other entries than this explain the y of
one by chance: a false one is found out by the directions that confirm."""
SPLITS = 128
"""After so many halvings, what is left in doubt is not followed."""
FEW = 4
"""So few columns are looked at one by one."""
DECODED = 1 << 27
"""Products of rows, columns and directions that are decoded at most at a time: rows beyond wait
for the next round."""

Probe = Callable[[int, int, int, int], tuple[Array, Array]]
"""(first column, end, first direction, end) to y and bars of all rows, shape (d, m). Directions
beyond those that were sent through all columns are drawn anew."""
Look = Callable[[NDArray[np.int64]], tuple[Array, Array, NDArray[np.bool_]]]
"""Columns to errors, bars and whether each is wrong, shape (m, k)."""


@dataclass(frozen=True, eq=False)
class Node:
    """Columns in a row, and the rows that disagree there.

    Attributes
    ----------
    low, high : int
    rows : int64 array, shape (k,)
    y, error : float64 arrays, shape (d, k)
    """

    low: int
    high: int
    rows: NDArray[np.int64]
    y: Array
    error: Array

    def only(self, kept: NDArray[np.bool_]) -> Node:
        """The same for some of its rows."""
        return Node(self.low, self.high, self.rows[kept], self.y[:, kept], self.error[:, kept])

    @property
    def failing(self) -> Node:
        """The same for the rows that disagree."""
        return self.only(np.asarray((np.abs(self.y) > self.error).any(axis=0)))


@dataclass
class Separated:
    """What was found.

    Attributes
    ----------
    entries : dict of (row, column) to (float, float)
        Single entries: how far the claim is off, and the bar of that.
    lines : set of (row, block)
        Rows that are wrong throughout a block of theta.
    left : set of int
        Rows of which more may be wrong.
    """

    entries: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    lines: set[tuple[int, int]] = field(default_factory=set)
    left: set[int] = field(default_factory=set)


@dataclass
class Separation:
    """A separation that is under way.

    Attributes
    ----------
    probe, look, direction : callable
        ``direction(number)`` is one of those that are drawn anew, shape (n,).
    taken : float64 array, shape (d, n)
        The directions that were sent through all columns.
    edges : list of int
        Where the blocks of theta begin, and where the last one ends.
    seed : int
        Draws the columns that speak for a block.
    """

    probe: Probe
    look: Look
    direction: Callable[[int], Array]
    taken: Array
    edges: list[int]
    seed: int
    found: Separated = field(default_factory=Separated)
    seen: set[int] = field(default_factory=set)
    known: dict[tuple[int, int], tuple[Array, Array]] = field(default_factory=dict)

    def at_hand(self, rows: NDArray[np.int64], y: Array, error: Array) -> Separated:
        """Find what single entries explain in failing rows; nothing is measured for it."""
        root = self.worst(Node(0, self.edges[-1], rows, y, error))
        for k, row in enumerate(root.rows.tolist()):
            fits, size, bar = self.decoded(root, k, self.taken)
            if len(fits) == 1:
                self.found.entries[row, int(fits[0])] = float(size[0]), float(bar[0])
        return self.found

    def worst(self, node: Node) -> Node:
        """As many of a node's rows as are decoded at a time; the others are left."""
        most = max(1, DECODED // (self.taken.shape[1] * len(self.taken)))
        if len(node.rows) <= most:
            return node
        kept = np.zeros(len(node.rows), bool)
        kept[np.argsort(-np.max(np.abs(node.y), axis=0), kind="stable")[:most]] = True
        self.found.left |= set(node.rows[~kept].tolist())
        return node.only(kept)

    def run(self, rows: NDArray[np.int64], y: Array, error: Array) -> Separated:
        """Find what is wrong in failing rows; y and error of shape (d, k)."""
        queue, splits = [self.worst(Node(0, self.edges[-1], rows, y, error))], 0
        while queue:
            node = self.unexplained(queue.pop())
            if not len(node.rows):
                continue
            if node.high - node.low <= FEW:
                self.one_by_one(node)
                continue
            node = self.without_lines(node)
            if not len(node.rows):
                continue
            if splits >= SPLITS:
                self.found.left |= set(node.rows.tolist())
                continue
            splits += 1
            queue += self.halves(node)
        return self.found

    def unexplained(self, node: Node) -> Node:
        """The node's rows that no single entry explains; those of the others are found."""
        settled = np.zeros(len(node.rows), bool)
        unclear = []
        for k, row in enumerate(node.rows.tolist()):
            fits, size, bar = self.decoded(node, k, self.taken[: len(node.y)])
            if len(fits) == 1:
                self.found.entries[row, int(fits[0])] = float(size[0]), float(bar[0])
                settled[k] = True
            elif 1 < len(fits) <= MANY:
                unclear.append(k)
        if unclear:
            settled[unclear] = self.resolved(node, unclear)
        return node.only(~settled)

    def resolved(self, node: Node, unclear: list[int]) -> list[bool]:
        """Whether other directions tell the candidates of some rows apart; these are found."""
        vs, y, error = self.taken[: len(node.y)], node.y, node.error
        done = dict.fromkeys(unclear, False)
        for extra in range(EXTRA_DIRECTIONS):
            number = len(self.taken) + extra
            more, bars = self.probe(node.low, node.high, number, number + 1)
            vs = np.vstack([vs, self.direction(number)])
            y = np.vstack([y, more[:, node.rows]])
            error = np.vstack([error, bars[:, node.rows]])
            longer = Node(node.low, node.high, node.rows, y, error)
            for k in [k for k in unclear if not done[k]]:
                fits, size, bar = self.decoded(longer, k, vs)
                if len(fits) == 1:
                    entry = int(node.rows[k]), int(fits[0])
                    self.found.entries[entry] = float(size[0]), float(bar[0])
                    done[k] = True
            if all(done.values()):
                break
        return [done[k] for k in unclear]

    def decoded(self, node: Node, k: int, vs: Array) -> tuple[NDArray[np.int64], Array, Array]:
        """The entries that alone would explain the y of a row, their sizes and bars."""
        v = vs[:, node.low : node.high]
        moved = np.flatnonzero((v != 0).all(axis=0))
        v = v[:, moved]
        low, high = sizes_within(node.y[:, k], node.error[:, k], v)
        fits = low <= high
        return node.low + moved[fits], (low + high)[fits] / 2, (high - low)[fits] / 2

    def one_by_one(self, node: Node) -> None:
        """Look at every column of a node."""
        columns = np.arange(node.low, node.high)
        error, bar, wrong = self.look(columns)
        for row in node.rows.tolist():
            for k in np.flatnonzero(wrong[row]).tolist():
                self.found.entries[row, int(columns[k])] = float(error[row, k]), float(bar[row, k])
            if not wrong[row].any():
                self.found.left.add(row)

    def without_lines(self, node: Node) -> Node:
        """The node's rows but those that are wrong throughout its block, which are found."""
        block = int(np.searchsorted(self.edges, node.low, side="right")) - 1
        whole = (node.low, node.high) == (self.edges[block], self.edges[block + 1])
        many = np.array([self.count(row, block) >= CAP for row in node.rows.tolist()])
        if node.high <= self.edges[block + 1] and many.any():
            self.found.lines |= {(int(row), block) for row in node.rows[many]}
            node = node.only(~many)
        if not whole or block in self.seen or not len(node.rows):
            return node
        self.seen.add(block)
        size = node.high - node.low
        rng = np.random.default_rng([self.seed, 3, block])
        drawn = node.low + rng.permutation(size)[: SAMPLED if size > 2 * SAMPLED else size]
        error, bar, wrong = self.look(drawn[:1])
        # What is exactly zero, as in a sparse row, has no say.
        if not (wrong | ((error == 0) & (bar == 0)))[node.rows].any():
            return node
        error, bar, wrong = self.look(drawn)
        says = ~((error == 0) & (bar == 0))
        lines = (wrong | ~says).all(axis=1) & wrong.any(axis=1)
        # Of a short row, all of which was looked at, every wrong entry is known.
        if len(drawn) == size:
            for row in node.rows[~lines[node.rows]].tolist():
                for k in np.flatnonzero(wrong[row]).tolist():
                    entry = float(error[row, k]), float(bar[row, k])
                    self.found.entries[row, int(drawn[k])] = entry
        mine = lines[node.rows]
        self.found.lines |= {(int(row), block) for row in node.rows[mine]}
        return node.only(~mine) if len(drawn) < size else node.only(np.zeros(len(mine), bool))

    def count(self, row: int, block: int) -> int:
        """How many wrong entries of a row were found in a block."""
        low, high = self.edges[block], self.edges[block + 1]
        return sum(i == row and low <= j < high for i, j in self.found.entries)

    def halves(self, node: Node) -> Iterator[Node]:
        """The two halves, by blocks of theta as long as there are several.

        One direction tells in which of them a row is wrong. Where it is one alone, all of the
        parent's y is that half's; only where it is both, other directions are measured.
        """
        inner = [edge for edge in self.edges if node.low < edge < node.high]
        middle = inner[len(inner) // 2] if inner else (node.low + node.high) // 2
        y, error = self.measured(node, middle, 1)
        in_first = (np.abs(y) > error)[0]
        in_second = (np.abs(node.y[:1] - y) > node.error[:1] + error)[0]
        both = in_first & in_second
        for low, high, mine in ((node.low, middle, in_first), (middle, node.high, in_second)):
            alone = mine & ~both
            if alone.any():
                yield replace(node.only(alone), low=low, high=high)
        if not both.any():
            return
        shared = node.only(both)
        count = self.directions(shared)
        y, error = self.measured(shared, middle, count)
        rest = replace(
            shared, low=middle, y=shared.y[:count] - y, error=shared.error[:count] + error
        )
        for half in (replace(shared, high=middle, y=y, error=error).failing, rest.failing):
            if len(half.rows):
                yield half

    def measured(self, node: Node, middle: int, count: int) -> tuple[Array, Array]:
        """The y of the first half of a node along so many directions, for its rows."""
        place = node.low, middle
        known = self.known.get(place)
        have = 0 if known is None else len(known[0])
        if have < count:
            more = self.probe(*place, have, count)
            self.known[place] = more if known is None else (
                np.vstack([known[0], more[0]]), np.vstack([known[1], more[1]])
            )  # fmt: skip
        y, error = (part[:count, node.rows] for part in self.known[place])
        # The parent's bars hold for its parts: they are measured at the same steps.
        return y, np.maximum(error, node.error[:count])

    def directions(self, node: Node) -> int:
        """How many directions leave little chance that another entry explains y."""
        with np.errstate(divide="ignore", invalid="ignore"):
            doubt = float(np.nanmax(np.median(node.error / np.abs(node.y), axis=0), initial=0.0))
        for count in range(2, len(node.y)):
            if (node.high - node.low) * (8 * doubt) ** (count - 1) < CHANCE:
                return count
        return len(node.y)
