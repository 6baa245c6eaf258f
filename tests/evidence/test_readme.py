"""The pages that are printed from the results: they are what a new printing gives. About 30 s."""

import copy
import json
import re
import shutil

import pytest
from matplotlib.figure import Figure as Canvas

from evidence import front, readme, results, sections
from evidence.bench import __main__ as bench
from evidence.demo import command as demo
from evidence.report import command
from evidence.report.run import Figure, Findings, Section, Table

CARRIED = {
    "carried": {
        "from": "measured before",
        "tables": [{"title": "A table", "head": ["sampler", "distance"], "rows": [["ours | theirs", "1.0"]]}],
        "figures": [{"file": "old.png", "title": "A figure", "caption": "Of old."}],
    }
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    return readme.render(results.load(), tmp_path_factory.mktemp("figures"))


def test_the_evidence_is_what_the_results_say(printed):
    text, _ = printed
    assert readme.README.read_bytes() == text.encode(), "print it again: make docs"


def test_the_table_of_the_front_page_is_what_the_results_say():
    text = front.README.read_text(encoding="utf-8")
    assert front.filled(text, results.load()) == text, "print it again: make docs"


def test_the_front_page_is_short():
    assert len(front.README.read_text(encoding="utf-8").splitlines()) <= 200


def test_every_figure_is_there_and_linked(printed):
    text, figures = printed
    there = {file.name for file in results.FIGURES.iterdir()}
    assert there == {figure.name for figure in figures} == set(re.findall(r"\(figures/([^)]+)\)", text))


@pytest.mark.parametrize("page", [readme.README, front.README], ids=["evidence", "front"])
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        if address.startswith("#"):
            assert address[1:] in anchors
        else:
            assert (page.parent / address.partition("#")[0]).exists(), address


def test_what_is_written_by_hand_has_no_measured_number():
    """Such as 0.193 or 64 %: numbers of that kind come from the results. Names with numbers are left out."""
    template = (results.FOLDER / "README.md.j2").read_text(encoding="utf-8")
    remarks = [
        remark for part, ids in sections.MODULES.items() for id in ids for remark in sections.load(part, id).remarks
    ]
    for text in [
        re.sub(r"arXiv \d+\.\d+|η = \S+|Diffusion 1\.5|of standard deviation 0\.5", "", text)
        for text in [template, *remarks]
    ]:
        assert not re.findall(r"\d+\.\d+|\d+ ?%|±", text), text


@pytest.mark.parametrize(("part", "id"), [(part, id) for part, ids in sections.MODULES.items() for id in ids])
def test_every_section_has_a_place_and_a_basis(part, id, printed):
    text, _ = printed
    section = sections.load(part, id)
    assert section.id == id and f"## {section.title}\n" in text
    entry = results.load()[part].get(id, {})
    if "about" in entry:
        basis = entry["about"]["basis"]
        assert not basis["quick"] and basis["versions"]["torch"] and basis["device"] and basis["date"]
    elif entry:
        assert entry["carried"]["from"] and entry["carried"]["tables"]


def measured(**about):
    basis = {"quick": False, "versions": {"torch": "2"}, "device": "a CPU", "threads": 1, "date": "day", "commit": None}
    return {"about": {"title": "Title", "basis": basis | about.pop("basis", {})} | about, "values": [1.0]}


def test_a_full_run_takes_the_place_of_what_was_carried_over(tmp_path):
    file = tmp_path / "results.json"
    results.save({"report": {"trained": CARRIED, "path_kl": CARRIED}}, file)

    assert results.publish("report", {"trained": measured()}, file) == ["trained"]

    assert results.load(file)["report"] == {"trained": measured(), "path_kl": CARRIED}
    assert len(file.read_text().splitlines()) == 12, "a line for each section"


@pytest.mark.parametrize(
    "entry", [measured(basis={"quick": True}), measured(unfinished=True), measured(problem="npm: none")]
)
def test_other_runs_leave_the_results_as_they_are(entry, tmp_path):
    file = tmp_path / "results.json"
    results.save({"report": {"trained": CARRIED}}, file)
    before = file.read_bytes()

    assert results.publish("report", {"trained": entry}, file) == []

    assert file.read_bytes() == before


def test_what_was_carried_over_says_so_and_keeps_its_tables_and_figures(tmp_path):
    text, figures = readme.render({"report": {"trained": CARRIED}}, tmp_path)
    assert "Carried over: measured before." in text
    assert "| ours \\| theirs | 1.0 |" in text and "![A figure](figures/old.png)" in text
    assert [figure.name for figure in figures] == ["old.png"]
    assert "Not measured: `make report` has yet to measure it." in text


def test_a_long_table_is_folded():
    assert "<details>" not in readme.markdown(Table("Short", ("a",), [("1",)] * 12))
    assert "<details>" in readme.markdown(Table("Long", ("a",), [("1",)] * 13))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Copies of the committed pages and results, which programs write to in the place of these."""
    for module, name in ((results, "FILE"), (readme, "README"), (front, "README")):
        committed = getattr(module, name)
        copied = tmp_path / f"{module.__name__}-{committed.name}"
        shutil.copy(committed, copied)
        monkeypatch.setattr(module, name, copied)
    monkeypatch.setattr(results, "FIGURES", shutil.copytree(results.FIGURES, tmp_path / "figures"))
    return tmp_path


def section(id):
    def show(numbers, folder):
        Canvas().savefig(folder / "new.png")
        return Findings(["The number is 42."], [Figure(folder / "new.png", "New", "Drawn.")], [])

    return Section(id, f"Title of {id}", "How much?", lambda run: {"rows": []}, show)


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])
@pytest.mark.parametrize(("part", "id"), [("report", "trained"), ("bench", "cost")])
def test_a_full_run_writes_the_pages_and_a_quick_one_does_not(part, id, quick, elsewhere, monkeypatch):
    monkeypatch.setattr(
        sections, "load", lambda of, name, load=sections.load: section(id) if name == id else load(of, name)
    )
    program = {"report": command, "bench": bench}[part]
    if part == "bench":
        monkeypatch.setitem(bench.SECTIONS, id, section(id))
        monkeypatch.setitem(bench.TEXTS, id, str)
    before = results.load()

    program.main(["--out", str(elsewhere / "out"), "--only", id] + ["--quick"] * quick)

    entry, text = results.load()[part][id], readme.README.read_text(encoding="utf-8")
    assert (entry == before[part][id]) == quick and ("The number is 42." in text) != quick
    assert (results.FIGURES / "new.png").exists() != quick
    assert (results.FIGURES / "trained-cifar.png").exists() == (quick or id != "trained"), (
        "no figure that nothing shows"
    )
    assert [one for of in before for one in before[of] if results.load()[of][one] != before[of][one]] == [id] * (
        not quick
    )


def test_a_demo_is_published_on_request(elsewhere):
    out = elsewhere / "out"
    demo.main(["--out", str(out), "--per-digit", "1", "--steps", "2", "--publish"])

    assert results.load()["demo"]["digits"]["settings"]["per_digit"] == 1
    assert "10 digits from each sampler" in readme.README.read_text(encoding="utf-8")
    assert (results.FIGURES / "overview.png").read_bytes() == (out / "overview.png").read_bytes()


def test_the_front_table_marks_the_least_and_what_is_level_with_it():
    def row(id, budget, *distances):
        return {"bed": "gaussian", "id": id, "budget": budget, "groups": {"distance": list(distances)}}

    rows = [row("secant", 5, 2.0, 2.1, 1.9), row("euler", 5, 3.0, 3.1, 2.9), row("heun", 5, 5.0, 5.1, 4.9)]
    rows += [row("secant", 7, 2.0, 2.1, 1.9), row("euler", 7, 1.0, 1.1, 0.9)]
    rows += [row("secant", 10, 2.0, 2.5, 1.5), row("euler", 10, 2.5, 2.0, 1.5)]
    rows += [row("secant", 20, 1e-6, 0.1, -0.1), row("euler", 20, 0.05, 0.15, 0.1)]
    beds = {"gaussian": {"name": "a Gaussian", "exact": {"distance": [0.1, 0.0, -0.1]}}}

    shown = front.table({"report": {"equal": {"beds": beds, "rows": rows}}})

    assert shown.splitlines()[2] == "| A Gaussian | **2**, 3 | 2, **1** | **2**, **2** | **0**, **0.1** |"


def test_markers_that_are_missing_are_an_error():
    with pytest.raises(ValueError):
        front.filled("no markers", results.load())


def test_the_results_are_plain_json():
    def no_constant(name):
        raise AssertionError(name)

    found = json.loads(results.FILE.read_text(encoding="utf-8"), parse_constant=no_constant)
    assert copy.deepcopy(found) == results.load()
    assert set(found) == set(results.PARTS)
