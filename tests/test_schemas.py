"""JSON against schemas: what fits is taken as it is, and what does not is told in one line."""

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from hcache.schemas import checked, parse_json, shown


@dataclass(frozen=True, kw_only=True)
class Shelf:
    heights: tuple[Annotated[int, Meta(ge=1, le=9)], float]


class Room(Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    count: Annotated[int, Meta(ge=1, le=9)] = 1
    wide: Annotated[float, Meta(ge=0.5, le=2.0)] = 1.0
    kind: Literal["kitchen", "hall"] = "hall"
    code: Annotated[str, Meta(pattern="^[0-9]{3}$", description="three digits")] = "000"
    open: bool = True
    sizes: dict[str, Annotated[int, Meta(ge=0)]] = {}
    shelves: list[Shelf] = []
    door: Shelf | None = None
    told: Any = None

    def __post_init__(self):
        if self.name == "attic":
            raise ValueError("there is no attic")


class House(Struct):
    rooms: dict[str, Room]
    short: Annotated[str, Meta(max_length=3)] = ""


WRONG = {
    "rooms.a.count: expected a whole number from 1 to 9, got 'x'": {"count": "x"},
    "rooms.a.count: expected a whole number from 1 to 9, got 0": {"count": 0},
    "rooms.a.count: expected a whole number from 1 to 9, got True": {"count": True},
    "rooms.a.count: expected a whole number from 1 to 9, got 1.0": {"count": 1.0},
    "rooms.a.wide: expected a number from 0.5 to 2, got 3": {"wide": 3},
    "rooms.a.kind: expected one of hall, kitchen, got 'shed'": {"kind": "shed"},
    "rooms.a.code: expected three digits, got '12'": {"code": "12"},
    "rooms.a.open: expected true or false, got 1": {"open": 1},
    "rooms.a.sizes.of the door: expected a whole number of at least 0, got -1": {
        "sizes": {"of the bed": 2, "of the door": -1}
    },
    "rooms.a.shelves: expected a list, got {}": {"shelves": {}},
    "rooms.a.shelves[1]: expected names with values, got 7": {"shelves": [{"heights": [1, 1]}, 7]},
    "rooms.a.shelves[0].heights: expected a list of 2, got [1]": {"shelves": [{"heights": [1]}]},
    "rooms.a.shelves[0].heights[1]: expected a number, got None": {
        "shelves": [{"heights": [1, None]}]
    },
    "rooms.a.shelves[0].heights is missing": {"shelves": [{}]},
    "rooms.a.door: expected names with values or null, got 'x'": {"door": "x"},
    "rooms.a.door.heights[0]: expected a whole number from 1 to 9, got 10": {
        "door": {"heights": [10, 1]}
    },
    "rooms.a.colour is not a field that is known here": {"colour": "red"},
    "rooms.a: there is no attic": {"name": "attic"},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_told_with_its_place_what_was_expected_and_what_came(message):
    rooms = {"fine": {"name": "n"}, "a": {"name": "n", **WRONG[message]}}
    with pytest.raises(ValueError) as caught:
        checked({"rooms": rooms}, House)
    assert str(caught.value) == message


def test_what_is_wrong_with_the_whole_is_told():
    with pytest.raises(ValueError, match=r"^what it holds: expected names with values, got \[\]$"):
        checked([], House)
    with pytest.raises(ValueError, match="^rooms is missing$"):
        checked({}, House)
    with pytest.raises(ValueError, match="^short: expected text of at most 3 letters, got 'long'"):
        checked({"rooms": {}, "short": "long"}, House)


def test_what_is_told_stays_one_short_line_whatever_came():
    for value in ("x" * 10**6, 10**5000, {"a": ["b"] * 1000}, "two\nlines"):
        with pytest.raises(ValueError) as caught:
            checked({"name": value, "count": value}, Room)
        assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)
    assert shown("x" * 100) == "'" + "x" * 59 + " …"


def test_a_mapping_of_very_many_is_not_searched_for_the_wrong_one():
    sizes = {str(k): 0 for k in range(2000)} | {"wrong": "x"}
    with pytest.raises(
        ValueError, match="^sizes: one of its values cannot be used: Expected `int`"
    ):
        checked({"name": "n", "sizes": sizes}, Room)


def test_numbers_stay_what_they_are():
    """A whole number is good for a fraction where the schema says so, and digests are over both."""
    both = Annotated[int, Meta(le=9)] | Annotated[float, Meta(le=9.0)]
    assert [type(checked(value, both)) for value in (1, 1.0)] == [int, float]
    for value in (math.inf, 10**400):
        with pytest.raises(ValueError, match="expected a number of at most 9"):
            checked(value, both)


def test_json_of_python_is_read_and_what_json_has_not_is_null():
    assert parse_json(b'{"a": [NaN, -Infinity, 1.5]}') == {"a": [None, None, 1.5]}
    assert parse_json('"é ✓"'.encode()) == "é ✓" and parse_json(b"1") == 1
    assert parse_json(json.dumps({"a": 2**70}).encode()) == {"a": 2**70}


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"{} {}", b"\xff", b'"\xff"', b'"\\ud800"', b'[NaN, "\\ud800"]', b"[" * 10**5],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises((ValueError, RecursionError)):
        parse_json(text)
