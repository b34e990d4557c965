"""Tables for a terminal."""

from edge_se.text_table import aligned


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("name", "KB", ""), ("a", "12", "yes"), ("longer", "3456", "")]

    assert aligned(rows, right={1}) == [
        "name      KB",
        "a         12  yes",
        "longer  3456",
    ]


def test_no_rows_are_no_lines():
    assert aligned([]) == []
