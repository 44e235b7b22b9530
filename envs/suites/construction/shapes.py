"""Rectangles in the plane: corners, areas, overlaps, and how much of one lies under others."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

Point = tuple[float, float]


class Rectangle(Protocol):
    """What has a place and a size."""

    @property
    def x(self) -> float:
        """Of its middle."""

    @property
    def y(self) -> float:
        """Of its middle."""

    @property
    def angle(self) -> float:
        """Radians, against the clock."""

    @property
    def width(self) -> float:
        """At angle 0, along x."""

    @property
    def height(self) -> float:
        """At angle 0, along y."""


class Box(NamedTuple):
    """An upright rectangle that never moves: an obstacle, a target or a stretch of the floor."""

    x: float
    y: float
    width: float
    height: float

    @property
    def angle(self) -> float:
        """It is upright."""
        return 0.0

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.y + self.height / 2


def corners(shape: Rectangle) -> list[Point]:
    """Return the four corners, against the clock."""
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    w, h = shape.width / 2, shape.height / 2
    around = ((-w, -h), (w, -h), (w, h), (-w, h))
    return [(shape.x + cos * a - sin * b, shape.y + sin * a + cos * b) for a, b in around]


def area(polygon: Sequence[Point]) -> float:
    """Return the area of a polygon whose corners run against the clock (the shoelace formula)."""
    pairs = zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs) / 2


def overlap(one: Rectangle, other: Rectangle) -> float:
    """Return the area that two rectangles share (Sutherland and Hodgman 1974)."""
    if _apart(one, other):
        return 0.0
    left, edges = corners(one), corners(other)
    for start, end in zip(edges, [*edges[1:], *edges[:1]], strict=True):
        left = _cut(left, start, end)
    return area(left) if len(left) > 2 else 0.0


def _apart(one: Rectangle, other: Rectangle) -> bool:
    """Whether the circles around two rectangles do not meet, which saves the cutting."""
    reach = (math.hypot(one.width, one.height) + math.hypot(other.width, other.height)) / 2
    return math.hypot(one.x - other.x, one.y - other.y) >= reach


def _cut(polygon: Sequence[Point], start: Point, end: Point) -> list[Point]:
    """Return what of a polygon lies to the left of the line from `start` to `end`."""
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    sides = [dx * (b - y) - dy * (a - x) for a, b in polygon]  # positive to the left
    kept: list[Point] = []
    for i, ((ax, ay), side) in enumerate(zip(polygon, sides, strict=True)):
        (bx, by), before = polygon[i - 1], sides[i - 1]
        if (side >= 0) != (before >= 0):
            share = before / (before - side)
            kept.append((bx + share * (ax - bx), by + share * (ay - by)))
        if side >= 0:
            kept.append((ax, ay))
    return kept


def holds(shape: Rectangle, point: Point) -> bool:
    """Whether a point lies in a rectangle, its edges included."""
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    dx, dy = point[0] - shape.x, point[1] - shape.y
    along, across = cos * dx + sin * dy, cos * dy - sin * dx
    return abs(along) <= shape.width / 2 and abs(across) <= shape.height / 2


def span(shape: Rectangle) -> tuple[float, float]:
    """Return the smallest and the greatest x of a rectangle."""
    half = (shape.width * abs(math.cos(shape.angle)) + shape.height * abs(math.sin(shape.angle))) / 2
    return shape.x - half, shape.x + half


def covered(box: Box, shapes: Iterable[Rectangle]) -> float:
    """Return the length of a box's upper edge that lies under one or more shapes."""
    length, reached = 0.0, box.left
    for start, end in sorted(span(shape) for shape in shapes if shape.y > box.top):
        start, end = max(start, reached), min(end, box.right)
        if end > start:
            length, reached = length + end - start, end
    return length
