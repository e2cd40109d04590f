"""Tables with numbers, and boxes of pseudo-code, in a notebook and as text."""

import csv
import re

import numpy as np
import pytest

from mpcrl_course.figures import Pseudocode, Table
from mpcrl_course.statistics import Bounds, Interval

ROWS = [
    ("plain", Interval(158.31234, 12.5), 1.25, 20, None),
    ("a < b", Interval(97.0, 3.25), -0.04, np.int64(3), True),
]
HEADER = ["controller", "cost", "change (%)", "starts", "safe"]
TABLE = Table("Cost & change", HEADER, ROWS, formats={"change (%)": ".1f"})


def test_numbers_are_flush_right_and_rounded_only_where_they_are_shown():
    assert str(TABLE).splitlines() == [
        "Cost & change",
        "controller        cost  change (%)  starts  safe",
        "----------  ----------  ----------  ------  ----",
        "plain         158 ± 12         1.2      20  –",
        "a < b       97.0 ± 3.2         0.0       3  yes",
    ]
    assert TABLE.rows is ROWS and repr(TABLE) == str(TABLE)


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ([1.254, 1.3, -0.0], ["1.25", "1.30", "0.00"]),
        ([158.31, 1.26, 12], ["158.3", "1.3", "12.0"]),
        ([12345.6, 1234.5], ["12346", "1234"]),
        ([0.0001234, 12.345, np.float32(2.5)], ["0.000123", "12.3", "2.5"]),
        ([123456789.0, np.nan], ["1.23e+08", "nan"]),
        ([0.0, np.inf], ["0", "inf"]),
        ([3, 1000], ["3", "1000"]),
    ],
)
def test_by_default_a_column_has_as_many_places_as_its_numbers_need(numbers, shown):
    assert [line.strip() for line in str(Table("", ["x"], [[x] for x in numbers])).splitlines()[3:]] == shown


def test_html_has_the_caption_and_aligns_each_column():
    shown = TABLE._repr_html_()
    assert re.search(r"<caption[^>]*>Cost &amp; change</caption>", shown) and "a &lt; b" in shown
    sides = re.findall(r'<th scope="col" style="text-align:(\w+)">', shown)
    assert sides == ["left", "right", "right", "right", "left"]
    assert re.findall(r'<td style="text-align:(\w+)', shown) == sides * 2


def test_csv_has_every_digit_and_the_width_of_intervals():
    head, *rows = csv.reader(TABLE.csv().splitlines())
    assert head == ["controller", "cost", "cost, ±", "change (%)", "starts", "safe"]
    assert rows[0] == ["plain", "158.31234", "12.5", "1.25", "20", ""]
    mixed = Table("", ["x"], [[Interval(1.0, 0.5)], [2.0]]).csv()
    assert mixed == 'x,"x, ±"\n1.0,0.5\n2.0,\n'
    ends = Table("", ["x"], [[Bounds(-1.04, -2.5, 0.5)], [None]], {"x": "+.1f"})
    assert ends.csv() == 'x,"x, low","x, high"\n-1.04,-2.5,0.5\n,,\n'
    assert [line.strip() for line in str(ends).splitlines()[3:]] == ["-1.0 [-2.5, +0.5]", "–"]


def test_a_file_is_written_only_when_asked_for(tmp_path):
    TABLE.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes().decode("utf-8") == TABLE.csv()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a row has 1 entries, but the header 2"):
        Table("", ["a", "b"], [["x"]])
    with pytest.raises(ValueError, match="no column is called 'time'"):
        Table("", ["time (ms)"], [[1.0]], formats={"time": ".1f"})


BOX = Pseudocode(
    "Receding horizon",
    """
    for k = 0, 1, …
        solve the problem from x_k

        apply u_0 if V < ∞
    """,
)


def test_pseudo_code_is_numbered_and_keeps_its_indentation():
    assert str(BOX).splitlines() == [
        "Receding horizon",
        "  1  for k = 0, 1, …",
        "  2      solve the problem from x_k",
        "  3      apply u_0 if V < ∞",
    ]
    shown = BOX._repr_html_()
    assert re.findall("<li>(.*?)</li>", shown)[1:] == [
        "&nbsp;" * 4 + "solve the problem from x_k",
        "&nbsp;" * 4 + "apply u_0 if V &lt; ∞",
    ]
    assert "<b>Receding horizon</b><ol" in shown
