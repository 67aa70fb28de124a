"""What the style asks of every module: short functions and sentences, one meaning a name."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import hcache

PACKAGE = Path(hcache.__file__).parent
TESTS = Path(__file__).parent
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
MOST_LINES, MOST_WORDS = 60, 12
DEFINED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def parsed(path):
    """The syntax tree of a file, read once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def public(tree):
    """The public functions and classes of a module, and the public methods of these classes."""
    for node in tree.body:
        if isinstance(node, DEFINED) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def first_sentence(text):
    """Up to the first full stop, question or exclamation mark that ends a word."""
    return re.split(r"(?<=[.?!])\s", " ".join(text.split()))[0]


def faults(tree):
    """What is wrong with the public docstrings of a module, a line each."""
    for node in public(tree):
        text = ast.get_docstring(node)
        if text and len(first_sentence(text).split()) > MOST_WORDS:
            yield f"{node.name}: {first_sentence(text)}"


def test_no_docstring_ends_a_sentence_with_two_full_stops():
    twice = re.compile(r'[\w)`]\.\.( *$|""")', re.MULTILINE)
    found = {
        (name, match[0])
        for name, path in MODULES.items()
        for match in twice.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found and twice.search("it is wrong..\n") and not twice.search("and so on ...\n")


def test_every_public_name_has_a_docstring():
    found = {
        (name, node.name)
        for name, path in MODULES.items()
        for node in public(parsed(path))
        if not ast.get_docstring(node) and not node.name.startswith("__")
    }
    assert not found


def lengths(path):
    """How many lines each function of a file has."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("name", MODULES)
def test_a_public_docstring_begins_with_a_sentence_of_twelve_words(name):
    assert list(faults(parsed(MODULES[name]))) == []


def test_the_check_of_docstrings_sees_long_sentences_and_passes_over_private_names():
    sentence = " ".join(["word"] * 13) + "."
    source = f'class A:\n    def long(self):\n        """{sentence}"""\n'
    assert list(faults(ast.parse(source))) == [f"long: {sentence}"]
    assert not list(faults(ast.parse(source.replace("long", "_long"))))
    short = source.replace(sentence, "A word. " + sentence)
    assert not list(faults(ast.parse(short)))


def test_no_function_is_longer_than_a_page():
    files = [*MODULES.values(), *TESTS.glob("*.py")]
    found = {(path.name, name): lines for path in files for name, lines in lengths(path)}
    assert len(found) > 3000
    assert {key: lines for key, lines in found.items() if lines > MOST_LINES} == {}


def test_a_public_class_name_means_one_class():
    places = defaultdict(set)
    for name, path in MODULES.items():
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(name)
    assert len(places) > 200
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


DOCUMENTED = {"_exit", "_repr_svg_"}
"""Names with an underscore that are public all the same: of os, and what notebooks call."""


def private_names(tree):
    """The names with one underscore that a file takes from others, but of its own ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            found = [each.value for each in node.args if isinstance(each, ast.Constant)]
        else:
            continue
        for name in filter(lambda name: isinstance(name, str), found):
            last = name.rpartition(".")[2]
            if last.startswith("_") and not last.startswith("__") and last not in DOCUMENTED:
                yield last


def test_tests_use_public_names_alone():
    """A name with an underscore may change without notice, in a library as in hcache."""
    found = {path.name: {*private_names(parsed(path))} for path in TESTS.glob("*.py")}
    assert {name: names for name, names in found.items() if names} == {}


def test_the_search_for_private_names_finds_each_way_to_use_one():
    uses = "a._b; x.setattr(m, '_c', 1); setattr(m, 'n._d', 1)\nfrom e import _f"
    assert sorted(private_names(ast.parse(uses))) == ["_b", "_c", "_d", "_f"]
    assert list(private_names(ast.parse("self._g; os._exit(1); a.__doc__"))) == []
