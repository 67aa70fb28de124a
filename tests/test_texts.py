"""Text files as other programs save them: read right, or refused with what to do."""

import pytest

from hcache.cache.label_files import parse_labels
from hcache.cli.main import main
from hcache.cli.spec_options import read_prompts
from hcache.errors import UsageError

TEXT = "un café rouge\r\nein grüner Fluß\r\n\r\n青い猫\r\n"
PROMPTS = ("un café rouge", "ein grüner Fluß", "青い猫")
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_prompts_are_read_in_every_encoding_that_says_what_it_is(encoding, tmp_path):
    (tmp_path / "p.txt").write_bytes(TEXT.encode(encoding))
    assert read_prompts(str(tmp_path / "p.txt")) == PROMPTS
    (tmp_path / "be.txt").write_bytes(b"\xfe\xff" + TEXT.encode("utf-16-be"))
    assert read_prompts(str(tmp_path / "be.txt")) == PROMPTS


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("a\nun café".encode("cp1252"), "line 2.*Windows.*UTF-8"),
        ("кот".encode("cp1251"), "Windows.*UTF-8"),
        ("a red dog".encode("utf-16-le"), "zero bytes.*UTF-16 without"),
        ("a red dog".encode("utf-16")[:-1], "UTF-16"),
        (b"\xef\xbb\xbf\n \n", "no prompts"),
    ],
)
def test_what_does_not_say_its_encoding_is_refused_with_what_to_do(data, words, tmp_path):
    (tmp_path / "p.txt").write_bytes(data)
    with pytest.raises(UsageError, match=words) as error:
        read_prompts(str(tmp_path / "p.txt"))
    assert "\n" not in str(error.value)


def parse(text):
    return parse_labels(text, "my.csv", {i: i for i in range(5)}, {100 + i: i for i in range(5)})


NAMES = [
    "Größe",
    "身長",
    "رنگ",
    "size (mm)",
    "speed [km/h]",
    "temperature °C",
    "p-value",
    "50% grey",
    "a:b",
    "(a)",
    "µ",
]


@pytest.mark.parametrize("name", NAMES)
def test_labels_may_be_named_in_any_language_with_brackets_and_units(
    name, copied_run, tmp_path, capsys
):
    assert parse(f"sample,{name}\n0,1\n") == {name: {0: 1.0}}
    (tmp_path / "a.csv").write_text(f"sample,{name}\n0,1\n", encoding="utf-16")
    home = ("--home", str(tmp_path / "copy"))
    assert (
        main(["labels-import", copied_run.name, str(tmp_path / "a.csv"), "--set", "mine", *home])
        == 0
    )
    assert main(["labels-export", copied_run.name, "--set", "mine", *home]) == 0
    assert name in capsys.readouterr().out.splitlines()[-13]


def test_excels_blank_rows_and_columns_and_pandas_numbering_are_left_out():
    assert parse("sample,a,,\n0,1,,\n,,,\n1,2,,\n,,,\n") == {"a": {0: 1.0, 1: 2.0}}
    assert parse(",sample,a\n0,3,1\n1,4,2\n") == {"a": {3: 1.0, 4: 2.0}}
    assert parse("Unnamed: 0,seed,a\n0,103,1\n") == {"a": {3: 1.0}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (",a\n0,1\n", "column 1 has values and no name; is it sample or seed"),
        ("sample,a,\n0,1,2\n", "column 3 has values and no name"),
        ("sample,a,a\n", "two columns are called 'a'"),
        ("sample,=a\n", "begins with '='"),
        ("sample,a\u200b\n", "control character"),
        (f"sample,{'a' * 101}\n", "longer than 100"),
        ("sample;a\n0;1\n", "expected commas between columns, not ';'"),
        ("sample\ta\n", "expected commas"),
        ("sample\n0\n", "no other column"),
        ("seed,sample,a\n", "one column called sample or seed"),
        ("\n\n", "empty"),
    ],
)
def test_a_fault_of_labels_is_named_as_what_it_is(text, words):
    with pytest.raises(UsageError, match=words):
        parse(text)


@pytest.mark.parametrize("seed", [2**62 - 1, 2**63, 2**64 - 1, 10**30, -1])
def test_a_seed_that_cannot_be_stored_is_refused_before_anything_is_made(
    seed, tiny_folder, tmp_path, capsys
):
    arguments = [
        "extract",
        str(tiny_folder),
        "--samples",
        "2",
        "--seed",
        str(seed),
        "--home",
        str(tmp_path / "home"),
    ]
    assert main(arguments) == 2 and "seed" in capsys.readouterr().err
    assert not list((tmp_path / "home").rglob("run.json"))


def test_the_largest_seed_is_extracted_and_read(tiny_folder, tmp_path):
    from hcache.cache.reading import open_run

    last = [
        "--samples",
        "2",
        "--steps",
        "1",
        "--seed",
        str(2**62 - 2),
        "--home",
        str(tmp_path / "home"),
    ]
    assert main(["extract", str(tiny_folder), *last]) == 0
    (folder,) = (tmp_path / "home" / "runs").iterdir()
    assert open_run(folder).seed(1) == 2**62 - 1
    assert main(["verify", folder.name, "--home", str(tmp_path / "home")]) == 0
