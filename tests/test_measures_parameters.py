"""What a user chooses for a measure is data: checked, and turned into options and widgets."""

import math

import pytest

from hcache.errors import UsageError
from hcache.measures.parameter import Parameter, check_options


def parameter(default, **more):
    return Parameter(name="some_thing", text="what it does", default=default, **more)


@pytest.mark.parametrize(
    ("known", "text", "value"),
    [
        (parameter(3, least=1, most=9), "9", 9),
        (parameter(0.5), "2", 2.0),
        (parameter(0.5), "1e-3", 0.001),
        (parameter(False), "yes", True),
        (parameter(True), "False", False),
        (parameter("a", choices=("a", "b")), "b", "b"),
    ],
)
def test_what_is_typed_is_read(known, text, value):
    found = known.parse(text)
    assert found == value and type(found) is type(known.default)
    assert known.read(value) == value and known.flag == "--some-thing"


@pytest.mark.parametrize(
    ("known", "value", "words"),
    [
        (parameter(3, least=1, most=9), 10, "a whole number from 1 up to 9, got 10"),
        (parameter(3, least=1), 0, "from 1, got 0"),
        (parameter(3), 2.0, "a whole number"),
        (parameter(3), True, "a whole number"),
        (parameter(0.5), math.nan, "a number"),
        (parameter(0.5), "2", "a number"),
        (parameter(False), 1, "yes or no"),
        (parameter("a", choices=("a", "b")), "c", "one of a, b"),
        (parameter("a"), ["x" * 1000], "a text"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_short_line(known, value, words):
    with pytest.raises(UsageError) as error:
        known.read(value)
    told = str(error.value)
    assert words in told and told.startswith("some_thing: expected") and len(told) < 200


def test_a_typed_word_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="expected a whole number, got 'many'"):
        parameter(3).parse("many")
    with pytest.raises(UsageError, match="yes or no"):
        parameter(True).parse("2")


@pytest.mark.parametrize("changes", [{"name": "Two words"}, {"name": ""}, {"default": [1]}])
def test_a_parameter_without_a_word_or_of_no_type_is_refused(changes):
    with pytest.raises(UsageError):
        Parameter(**{"name": "a", "text": "t", "default": 1, **changes})


def test_sizes_of_a_page_stay_within_half_of_the_run():
    known = parameter(16, sizes={"quick": 8, "thorough": 64}, half_the_run=True)
    found = [known.at_size(size, 40) for size in ("quick", "usual", "thorough")]
    assert found == [8, 16, 20]
    assert parameter(19, sizes={"quick": 4}).at_size("quick", 2) == 4


def test_options_that_nobody_has_are_refused_by_name():
    known = {"draws": Parameter(name="draws", text="t", default=3)}
    assert check_options(known, {"draws": 5}, "the measures") == {"draws": 5}
    with pytest.raises(UsageError, match="the measures have no parameter 'drawn'; there are draws"):
        check_options(known, {"drawn": 5}, "the measures")
