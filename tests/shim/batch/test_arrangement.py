"""Plans of every shape on pages: each job once, in its place, none over another, within the limits."""

import itertools

import pytest

from lgs.batch.arrangement import ROW_LENGTH, Measure, blocks, pages, shown
from lgs.batch.plan import jobs

from .plans import GRAPH, axes

MEASURE = Measure(cell=(96, 64), gap=8, heads=(50, 40), apart=30, most=1000)


def plan(*lengths: int, names: tuple[str, ...] = ("steps", "cfg", "text", "seed")) -> tuple[list, list]:
    made = axes(**{name: range(length) for name, length in zip(names, lengths, strict=False)})
    return made, jobs(GRAPH, made)


SHAPES = [
    (),
    (1,),
    (5,),
    (8,),
    (9,),
    (200,),
    (2, 3),
    (3, 2),
    (1, 5, 1),
    (40, 2),
    (2, 40),
    (30, 30),
    (2, 3, 4),
    (9, 9, 2),
]


@pytest.mark.parametrize("names", [("steps", "cfg", "text", "seed"), ("seed", "steps", "cfg", "text")])
@pytest.mark.parametrize("lengths", [*SHAPES, (2, 3, 4, 5), (1, 1, 1, 90), (3, 1, 2, 30)], ids=str)
def test_each_job_once_and_none_over_another(lengths: tuple, names: tuple):
    settings, made = plan(*lengths, names=names)
    laid = pages(blocks(settings, made), MEASURE)
    assert sorted(job.number for page in laid for job in page.jobs) == [job.number for job in made]
    for page in laid:
        assert page.width <= MEASURE.most and page.height <= MEASURE.most
        boxes = [(x, y, x + MEASURE.size(part)[0], y + MEASURE.size(part)[1]) for part, x, y in page.placed]
        assert all(0 <= x and 0 <= y and right <= page.width and down <= page.height for x, y, right, down in boxes)
        for (x, y, right, down), (x2, y2, right2, down2) in itertools.combinations(boxes, 2):
            assert right <= x2 or right2 <= x or down <= y2 or down2 <= y


@pytest.mark.parametrize("names", list(itertools.permutations(("steps", "cfg", "seed"))))
def test_cells_have_the_settings_of_their_heads(names: tuple):
    settings, made = plan(3, 2, 4, names=names)
    whole = blocks(settings, made)
    assert all(block.row_title == "seed" for block in whole), "the same seed next to itself"
    for block in whole:
        for row, line in zip(block.rows, block.cells, strict=True):
            for column, job in zip(block.columns, line, strict=True):
                said = {block.row_title: row, block.column_title: column} | dict([block.heading.split(" = ")])
                assert said == {name: str(value) for name, value in job.settings.items()}


def test_a_long_axis_goes_down_where_the_seeds_are_few():
    settings, made = plan(ROW_LENGTH + 1, 2, names=("cfg", "seed"))
    [block] = blocks(settings, made)
    assert (block.row_title, block.column_title) == ("cfg", "seed")


def test_without_seeds_the_last_goes_across():
    settings, made = plan(2, 3, names=("cfg", "steps"))
    [block] = blocks(settings, made)
    assert (block.row_title, block.column_title) == ("cfg", "steps")


def test_a_single_axis_is_one_row_while_it_is_short():
    for length, rows in ((ROW_LENGTH, 1), (24, 4)):
        settings, made = plan(length, names=("seed",))
        [page] = pages(blocks(settings, made), MEASURE)
        assert len({y for _, _, y in page.placed}) == len(page.placed) == rows


def test_a_cell_that_is_larger_than_a_page_has_one_of_its_own():
    settings, made = plan(2, 2)
    laid = pages(blocks(settings, made), Measure((2000, 2000), 8, (50, 40), 30, 1000))
    assert [len(page.jobs) for page in laid] == [1] * 4


def test_values_as_people_read_them():
    assert [shown(value) for value in (True, None, "", 0, 1.5, "x")] == ["true", "none", "(empty)", "0", "1.5", "x"]
