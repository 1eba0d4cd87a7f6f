"""A slow, obvious twin of the core's tree-structured Parzen estimator: every density from scratch, in full precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple

from fasttune._draws import Tpe, philox4x32

Numbers = Sequence[float | None]
Dim = tuple[int, float, float, bool, float, int, int]  # kind, low, high, log, q, parent, option


def cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def units_from(seed: int, number: int) -> list[float]:
    """The first random numbers of suggestion ``number``."""
    drawn = []
    for block in range(2000):
        words = philox4x32((number & 0xFFFFFFFF, number >> 32, block, 3), (seed & 0xFFFFFFFF, seed >> 32))
        for low, high in (words[:2], words[2:]):
            drawn.append(((low | high << 32) >> 11) / 2**53)
    return drawn


def scale(dim: Dim, number: float) -> float:
    """The place of a number in [0, 1]; of an integer the middle of its cell."""
    kind, low, high, log, q, _, _ = dim
    if kind in (Tpe.CATEGORICAL, Tpe.UNIT):
        return number
    if kind == Tpe.INTEGER:
        first, number, last = low / q, number / q, high / q + 1
        if log:
            middle = (math.log(number) + math.log(number + 1)) / 2
            return (middle - math.log(first)) / (math.log(last) - math.log(first))
        return (number + 0.5 - first) / (last - first)
    if low == high:
        return 0.5
    if log:
        low, high, number = math.log(low), math.log(high), math.log(number)
    return min(max((number - low) / (high - low), 0.0), 1.0)


def size(dim: Dim) -> float:
    """How many values there are."""
    kind, low, high, _, q, _, _ = dim
    if kind == Tpe.CATEGORICAL:
        return high + 1
    if kind == Tpe.INTEGER:
        return high / q + 1 - low / q
    if kind == Tpe.UNIT:
        return math.inf
    return 1.0 if low == high else round((high - low) / q) + 1.0 if q else math.inf


class Trial(NamedTuple):
    units: list[float | None]
    step: int
    loss: float
    failed: bool


class Kernel(NamedTuple):
    weight: float
    centre: list[float]
    width: list[float]  # of an option: the share of its mass that goes to all options alike


class SlowTpe:
    """Lists of trials; one mixture is a list of kernels."""

    def __init__(
        self,
        dims: Sequence[Dim],
        seed: int,
        *,
        multivariate: bool = True,
        candidates: int = 24,
        gamma: float = 0.1,
        most_good: int = 25,
        prior_weight: float = 1.0,
        most_bad: int = 256,
        magic: float = 1.5,
        narrowest: float = 0.01,
    ) -> None:
        self.dims, self.seed = list(dims), seed
        self.multivariate, self.candidates = multivariate, candidates
        self.gamma, self.most_good, self.most_bad = gamma, most_good, most_bad
        self.prior, self.magic, self.narrowest = prior_weight, magic, narrowest
        self.rows: list[list[float | None]] = []
        self.ends: dict[int, Trial] = {}

    def add(self, numbers: Numbers) -> int:
        pairs = zip(self.dims, numbers, strict=True)
        self.rows.append([None if number is None else scale(dim, number) for dim, number in pairs])
        return len(self.rows) - 1

    def tell(self, row: int, step: int, loss: float, failed: bool = False) -> None:
        self.ends[row] = Trial(self.rows[row], step, loss, failed)

    # -- what is modelled together --------------------------------------------------------------------------------------

    def parts(self) -> list[list[int]]:
        """Dimensions that are part of the same configs, or each on its own."""
        groups: dict[tuple[int, int], list[int]] = {}
        for k, (*_, parent, option) in enumerate(self.dims):
            groups.setdefault((parent, option if parent >= 0 else -1), []).append(k)
        if self.multivariate:
            return list(groups.values())
        return [[k] for group in groups.values() for k in group]

    def sides(self, part: list[int]) -> tuple[list[Kernel], list[Kernel]]:
        """The kernels of the good trials and of the bad ones."""
        ended = [one for one in self.ends.values() if one.units[part[0]] is not None]
        done = [one for one in ended if not one.failed]
        whole = max((one.step for one in self.ends.values() if not one.failed), default=0)
        done.sort(key=lambda one: (-(one.step or whole), one.loss))
        failed = [one for one in ended if one.failed]
        running = [row for k, row in enumerate(self.rows) if k not in self.ends and row[part[0]] is not None]
        n = min(math.ceil(self.gamma * len(done)), self.most_good)
        n = max(n, 1) if done else 0
        good = [one.units for one in done[:n]]
        weights = [math.log(n + 1) - math.log(k + 1) for k in range(n)]
        weights = [weight * n / sum(weights) for weight in weights]
        bad, counts = self.thinned([one.units for one in done[n:] + failed])
        total = sum(counts) + len(running)
        kept = self.evenly(running)
        each = len(running) / max(1, len(kept))
        return (
            self.kernels(part, good, weights, n),
            self.kernels(part, bad + kept, counts + [each] * len(kept), total),
        )

    def evenly(self, running: list[list[float | None]]) -> list[list[float | None]]:
        """At most ``most_bad`` of those that run: the first one of each of as many equal parts."""
        parts = min(self.most_bad, len(running))
        return [running[-(-k * len(running) // parts)] for k in range(parts)]

    def thinned(self, bad: list[list[float | None]]) -> tuple[list[list[float | None]], list[float]]:
        """At most ``most_bad`` of the bad ones, and how many each stands for."""
        if len(bad) <= self.most_bad:
            return bad, [1.0] * len(bad)
        near = self.most_bad // 2
        far = self.most_bad - near
        rest = bad[near:]
        edges = [k * len(rest) // far for k in range(far + 1)]
        picked = [rest[(a + b) // 2] for a, b in pairwise(edges)]
        return bad[:near] + picked, [1.0] * near + [float(b - a) for a, b in pairwise(edges)]

    def kernels(
        self, part: list[int], rows: list[list[float | None]], weights: list[float], total: float
    ) -> list[Kernel]:
        columns = [[float(row[k]) for row in rows] for k in part]  # type: ignore[arg-type]
        widths = [self.widths(self.dims[k], column, total) for k, column in zip(part, columns, strict=True)]
        return [
            Kernel(weight, [column[j] for column in columns], [width[j] for width in widths])
            for j, weight in enumerate(weights)
        ]

    def widths(self, dim: Dim, column: list[float], total: float) -> list[float]:
        """The distance to the farther neighbour, clipped."""
        options = size(dim)
        if dim[0] == Tpe.CATEGORICAL:
            return [options / (options + total + 1)] * len(column)
        least = max(self.narrowest, min(100.0, total + 2) ** -self.magic, 0.5 / options)
        if not column:
            return []
        if len(column) == 1:
            return [min(max(column[0], 1 - column[0], least), 1.0)]
        order = sorted(range(len(column)), key=lambda j: (column[j], j))
        gaps = [0.0, *[column[b] - column[a] for a, b in pairwise(order)], 0.0]
        found = dict(zip(order, map(max, pairwise(gaps)), strict=True))
        return [min(max(found[j], least), 1.0) for j in range(len(column))]

    # -- densities --------------------------------------------------------------------------------------------------------

    def density(self, part: list[int], kernels: list[Kernel], point: Sequence[float]) -> float:
        flat = math.prod(1 / size(self.dims[k]) for k in part if self.dims[k][0] == Tpe.CATEGORICAL)
        total = sum(kernel.weight for kernel in kernels) + self.prior
        return (self.prior * flat + sum(one.weight * self.height(part, one, point) for one in kernels)) / total

    def height(self, part: list[int], kernel: Kernel, point: Sequence[float]) -> float:
        height = 1.0
        for k, mu, width, x in zip(part, kernel.centre, kernel.width, point, strict=True):
            if self.dims[k][0] == Tpe.CATEGORICAL:
                height *= (1 - width) * (x == mu) + width / size(self.dims[k])
            else:
                inside = cdf((1 - mu) / width) - cdf(-mu / width)
                height *= math.exp(-0.5 * ((x - mu) / width) ** 2) / (width * math.sqrt(2 * math.pi) * inside)
        return height

    def ratio(self, part: list[int], point: Sequence[float]) -> float:
        good, bad = self.sides(part)
        return math.log(self.density(part, good, point)) - math.log(self.density(part, bad, point))

    def score(self, numbers: Numbers) -> float:
        units = [None if number is None else scale(dim, number) for dim, number in zip(self.dims, numbers, strict=True)]
        total = 0.0
        for part in self.parts():
            if units[part[0]] is not None:
                total += self.ratio(part, [units[k] for k in part])  # type: ignore[misc]
        return total

    # -- suggestions ------------------------------------------------------------------------------------------------------

    def check(self, number: int, units: Sequence[float | None]) -> None:
        """These units are, part by part, a candidate that this suggestion draws, and as good as its best one."""
        random = iter(units_from(self.seed, number))
        for part in self.parts():
            *_, parent, option = self.dims[part[0]]
            if parent >= 0 and units[parent] != option:
                assert units[part[0]] is None
                continue
            good, bad = self.sides(part)
            points = [self.draw(part, good, random) for _ in range(self.candidates)]
            ratios = [math.log(self.density(part, good, x)) - math.log(self.density(part, bad, x)) for x in points]
            found = [units[k] for k in part]
            taken = min(range(self.candidates), key=lambda c: math.dist(points[c], found))  # type: ignore[arg-type]
            assert math.dist(points[taken], found) < 1e-3, (part, points[taken], found)  # type: ignore[arg-type]
            assert ratios[taken] > max(ratios) - 1e-2, (part, ratios[taken], max(ratios))

    def drawn(self, number: int, n: int) -> list[list[float | None]]:
        """The units of n configs that are drawn at once: part by part, all configs of one after the other."""
        random = iter(units_from(self.seed, number))
        made: list[list[float | None]] = [[None] * len(self.dims) for _ in range(n)]
        for part in self.parts():
            *_, parent, option = self.dims[part[0]]
            good, _ = self.sides(part)
            for units in made:
                if parent < 0 or units[parent] == option:
                    for k, unit in zip(part, self.draw(part, good, random), strict=True):
                        units[k] = unit
        return made

    def draw(self, part: list[int], good: list[Kernel], random: Iterator[float]) -> list[float]:
        """A candidate: a kernel or the prior, then each number from it."""
        left = next(random) * (sum(one.weight for one in good) + self.prior)
        picked = None
        for one in good:
            if left < one.weight:
                picked = one
                break
            left -= one.weight
        point = []
        for i, k in enumerate(part):
            u = next(random)
            if self.dims[k][0] == Tpe.CATEGORICAL:
                point.append(self.draw_option(self.dims[k], u, picked, i))
                continue
            if picked is not None:
                mu, width = picked.centre[i], picked.width[i]
                low, high = cdf(-mu / width), cdf((1 - mu) / width)
                u = min(max(mu + width * quantile(low + u * (high - low)), 0.0), 1.0)
            point.append(rounded(self.dims[k], u))
        return point

    def draw_option(self, dim: Dim, u: float, picked: Kernel | None, i: int) -> float:
        if picked is not None:
            kept = 1 - picked.width[i]
            if u < kept:
                return picked.centre[i]
            u = (u - kept) / (1 - kept)
        return min(math.floor(u * size(dim)), size(dim) - 1)


def quantile(p: float) -> float:
    return NormalDist().inv_cdf(min(max(p, 1e-9), 1 - 1e-9))


def rounded(dim: Dim, unit: float) -> float:
    """The nearest place at which there is a number."""
    kind, low, high, log, q, _, _ = dim
    if math.isinf(size(dim)):
        return unit
    if kind == Tpe.INTEGER:
        first, last = low / q, high / q + 1
        at = math.exp(math.log(first) + unit * math.log(last / first)) if log else first + unit * (last - first)
        return scale(dim, min(max(math.floor(at) * q, low), high))
    if low == high:
        return 0.5
    at = math.exp(math.log(low) + unit * math.log(high / low)) if log else low + unit * (high - low)
    return scale(dim, min(max(round(at / q) * q, low), high))
