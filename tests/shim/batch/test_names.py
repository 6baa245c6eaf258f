"""Names that people read, that sort, and that no file system refuses or takes for another."""

import re
import unicodedata

import pytest

from lgs.batch.names import LONGEST_NAME, LONGEST_WORDS, Names, cleaned, folded, words

FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
"""By Windows, which has the longest list."""
HOSTILE = [
    "a lighthouse, evening",
    "../../etc/passwd",
    "C:\\Windows\\x",
    "line\nline\r\n\ttab",
    'say "hi" | <b>?*',
    "\x00\x1b[2J\x7f",
    "été " + unicodedata.normalize("NFD", "été"),
    "\u202egnp.exe",
    "מגדלור ليل",
    "हिन्दी",
    "\U0001f600\U0001f3fd\u200d\U0001f680",
    "\ud800",
    "=cmd|' /C calc'!A0",
    "a" * 10_000,
    "\u706f" * 10_000,
    "CON",
    "nul.txt",
    " . ",
    "",
]


def names(*axes: tuple[str, list], seed: int | None = None) -> list[str]:
    """Of jobs that take one value of each axis after another."""
    made = Names(axes, "seed")
    return [made.of([at] * len(axes), seed) for at in range(len(axes[0][1]) if axes else 1)]


def test_the_settings_and_the_seed():
    assert names(("covariance", ["lanczos", "isotropic"]), ("seed", [7, 60])) == [
        "covariance=lanczos_seed=0007",
        "covariance=isotropic_seed=0060",
    ]
    assert names(("covariance", ["lanczos"]), seed=7) == ["covariance=lanczos_seed=0007"]
    assert names(seed=7) == ["seed=0007"]
    assert names() == ["picture"]


@pytest.mark.parametrize(
    "values",
    [
        list(range(1, 100_001, 999)),
        [1, 2, 2.5, 10],
        [0.25, 0.5, 1.0, 100],
        [0, 2**63, 2**64 - 1],
        [1e-05, 0.5, 3],
        list(range(12)),
    ],
)
def test_numbers_that_ascend_sort(values: list):
    made = names(("cfg", values), ("seed", values))
    assert made == sorted(made)
    assert [float(word) for word in words(values)] == [float(value) for value in values]


def test_numbers_are_in_full():
    assert words([1, 2.5, 10]) == ["01.0", "02.5", "10.0"]
    assert words([-10, 5]) == ["-10", "05"]
    assert words([7], 4) == ["0007"]
    assert words([2**64 - 1, 1], 4) == ["18446744073709551615", "00000000000000000001"]
    assert words([1e300, 0.1, float("nan"), float("inf")]) == ["1e+300", "0.1", "nan", "inf"]
    assert words([True, None, 1]) == ["true", "none", "1"]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_no_file_system_refuses_it(value: str):
    for name in names(("text", [value]), seed=1) + names((value, ["x"]), seed=1) + names((value, [value] * 2)):
        assert not FORBIDDEN.search(name)
        assert name == name.strip(" .") and not name.startswith("-")
        assert len(name.encode()) <= LONGEST_NAME
        assert unicodedata.is_normalized("NFC", name)
        assert not {unicodedata.category(c) for c in name} & {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}
        assert name.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}


@pytest.mark.parametrize("title", ["CON.x", "aux.", "com1.seed", "LPT².y", "nul"])
def test_devices_of_windows_are_none(title: str):
    assert not re.match(r"(con|aux|com1|lpt²|nul)(\.|$)", names((title, [1, 2]))[0], re.IGNORECASE)


def test_scripts_of_all_kinds_stay_readable():
    assert cleaned("灯台、夕方 été") == "灯台-夕方-été"
    assert cleaned("मीनार") == "मीनार"
    assert cleaned("dpmpp_2m_sde") == "dpmpp_2m_sde" and cleaned("v1-5-pruned.safetensors") == "v1-5-pruned.safetensors"


@pytest.mark.parametrize(
    "values",
    [
        ["a b", "a/b", "a:b"],
        ["Lanczos", "lanczos", "LANCZOS"],
        ["straße", "STRASSE"],
        ["é", unicodedata.normalize("NFD", "é")],
        ["", "?", "\U0001f600"],
        ["a" * 500 + "x", "a" * 500 + "y"],
        [1, 1.0],
        ["\u017f", "s"],
        ["\u212a", "k"],
        HOSTILE,
    ],
    ids=range(10),
)
def test_what_reads_alike_is_numbered(values: list):
    made = words(values)
    assert len({folded(word) for word in made}) == len(values)
    assert all(re.match(rf"0*{at}(-|$)", word) for at, word in enumerate(made, start=1))
    assert all(len(word.encode()) <= LONGEST_WORDS[0] for word in made)


def test_what_does_not_is_not():
    assert words(["a lighthouse, evening", "a lighthouse, morning"]) == ["a-lighthouse-evening", "a-lighthouse-morning"]


@pytest.mark.parametrize("axes", [3, 6, 40])
@pytest.mark.parametrize("first", [True, False], ids=["seeds first", "one seed"])
def test_many_axes_keep_within_a_name_and_keep_the_seed(axes: int, first: bool):
    settings = [(f"a long title {at}", ["b" * 90, "c" * 90]) for at in range(axes)]
    made = Names([("seed", [7, 2**64 - 1]), *settings] if first else settings, "seed")
    one, other = (made.of([at] * (axes + first), None if first else 7) for at in (0, 1))
    assert "seed=00000000000000000007" in one if first else one.endswith("_seed=0007")
    assert one != other or (axes, first) == (40, False)
    assert max(len(one.encode()), len(other.encode())) <= LONGEST_NAME
