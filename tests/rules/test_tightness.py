"""A bound that claims to be exact is reached: the search comes within a thousandth of it, or within the share a case records."""

from netaudit.testing import Applied, Found, loose


def test_an_exact_bound_is_reached(op: Applied, found: Found) -> None:
    assert list(loose(op, found)) == []
