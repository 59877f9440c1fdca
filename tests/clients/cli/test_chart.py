"""A chart in characters."""

from crowd_detector.cli.chart import ceiling, chart, clock
from hypothesis import given
from hypothesis import strategies as st

CHART = """\
4 ┤⠀⠀⠀⠀⠀⠀⠀⡏⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⢹
  │⠀⠀⠀⠀⠀⠀⠀⡇⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⢸
2 ┤⠀⠀⠀⢰⠒⠒⠒⠃⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⢸
  │⠀⠀⠀⢸⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠸
0 ┤⣀⣀⣀⣸⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀
  └─────────────────────
   0:00             1:00"""


def test_a_chart() -> None:
    """Counts over time, as steps, with both axes."""
    points = [(0, 0), (10, 2), (20, 4), (30, 4), (60, 1)]
    assert "\n".join(chart(points, 24, 7)) == CHART


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**9)), max_size=50),
    st.integers(-5, 200),
    st.integers(-5, 60),
)
def test_it_fills_its_place(points: list[tuple[float, int]], width: int, height: int) -> None:
    """Exactly, whatever is drawn."""
    lines = chart(sorted(points), width, height)
    assert len(lines) == max(height, 3)
    assert {len(line) for line in lines} == {max(width, 24)}


@given(st.floats(0, 1e11))
def test_the_axis_ends_above_the_highest(most: float) -> None:
    """And not far above it."""
    assert most <= ceiling(most) <= max(4, most * 3)


def test_a_clock() -> None:
    """As people read it."""
    assert [clock(0), clock(65.9), clock(7200)] == ["0:00", "1:05", "2:00:00"]
