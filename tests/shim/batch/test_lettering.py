"""Lines within a width, of texts of any kind."""

import pytest

from lgs.batch.lettering import LONGEST_SHOWN, fonts, one_line, wrapped

[FONT] = fonts([], [15])
TEXTS = [
    "",
    "a",
    "a lighthouse on a cliff, evening light",
    "x" * 500,
    "x " * 500,
    "\n\t ",
    "i\u0301" * 90,
    "\u706f" * 90,
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [40, 97, 256])
@pytest.mark.parametrize("most", [1, 3, 50])
def test_lines_keep_within_a_width(text: str, width: int, most: int):
    lines = wrapped(text, FONT, width, most)
    assert 1 <= len(lines) <= most
    assert all(FONT.getlength(line) <= width for line in lines)
    kept = "".join(lines).replace(" ", "").removesuffix("…")
    whole = one_line(text).replace(" ", "")
    assert whole.startswith(kept), "nothing is lost in between"
    assert lines[-1].endswith("…") == (len(kept) < len(whole) or len(text) > LONGEST_SHOWN)


def test_words_stay_whole_where_they_can():
    assert wrapped("evening light and more", FONT, FONT.getlength("evening light") + 1, 3) == [
        "evening light",
        "and more",
    ]


def test_nothing_breaks_or_turns_a_line():
    assert one_line("a\r\nb\u2028c\t\x1b[2J\u202ed\x00") == "a b c \ufffd[2J\ufffdd\ufffd"


def test_a_font_that_has_the_letters_where_there_is_one():
    """The system's fonts are tried when Pillow's own lacks letters, and only then."""
    own, other = fonts(["seed"], [12, 20])
    assert own.getname() == other.getname() == FONT.getname() and (own.size, other.size) == (12, 20)
    assert fonts(["\uffff"], [12])[0].getname() == FONT.getname(), "no font has it, and none is better"
