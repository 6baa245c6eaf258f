"""`.page` and `.command`, with a section that counts. About 5 s."""

import json
import os
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import interruptible
import pytest
import torch
from matplotlib.figure import Figure as Canvas

from evidence.report import command, page
from evidence.report.run import Figure, Findings, Run, Section, Table, Unavailable, digest

UNITS = 6


def unit(number, log, breaks_at):
    """A cached unit of work that writes down that it was done, and may break off."""
    if number == breaks_at and not Path(log).with_suffix(".mended").exists():
        raise KeyboardInterrupt
    with open(log, "a") as lines:
        lines.write(f"{number}\n")
    return number / 3


def section(id="path_kl", log=None, breaks_at=None, numbers=None, problem=None):
    def measure(run):
        if problem:
            raise Unavailable(problem)
        if log is None:
            return numbers or {"values": [1.0]}
        return {"values": [run.cached(unit)(number, str(log), breaks_at) for number in range(UNITS)]}

    def show(numbers, folder):
        canvas = Canvas(figsize=(2, 1))
        canvas.subplots().plot(numbers["values"])
        canvas.savefig(folder / f"{id}.png")
        return Findings(
            sentences=[f"The sum of {id} is {sum(numbers['values']):.3f} < 10 & more."],
            figures=[Figure(folder / f"{id}.png", "Values", "All of them, <in order>.")],
            tables=[Table("Values", ("value", "twice"), [(f"{v:.3f}", f"{2 * v:.3f}") for v in numbers["values"]])],
        )

    return Section(id, f"Title of {id}", "How much?", measure, show)


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text outside style sheets; fails on tags that do not match."""

    VOID = {"meta", "img", "link", "br", "hr"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def entries(run):
    return json.loads((run.out / "report.json").read_text())


def test_the_page_needs_nothing_beside_it(run):
    command.report(run, [section("path_kl"), section("guidance")])

    text = (run.out / "index.html").read_text()
    elements = Elements(text)
    assert not {tag for tag, _ in elements.tags} & {"script", "link", "iframe", "object"}
    addresses = [a[name] for _, a in elements.tags for name in ("src", "href", "srcset") if name in a]
    assert addresses and all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert "url(" not in text and "@import" not in text
    assert [a["src"].startswith("data:") for tag, a in elements.tags if tag == "img"] == [True, True]
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in elements.tags
    assert "prefers-color-scheme: dark" in text


def test_the_page_says_it_in_the_summary_and_in_the_section(run):
    command.report(run, [section("guidance"), section("path_kl")])

    text = Elements((run.out / "index.html").read_text()).text
    assert text.count("The sum of path_kl is 1.000 < 10 & more.") == 2
    assert text.index("Title of path_kl") < text.index("Title of guidance"), "in the order of the page"
    for part in (
        "How much?",
        "All of them, <in order>.",
        "2.000",
        "Full run",
        f"{torch.get_num_threads()} thread",
        "torch 2.",
    ):
        assert part in text, part


def test_a_quick_run_says_so(run):
    command.report(Run(run.out, quick=True), [section()])

    assert "This is a quick run" in (run.out / "index.html").read_text()
    assert entries(run)["path_kl"]["about"]["basis"]["quick"] is True


def test_what_cannot_be_measured_here_is_stated_with_the_reason(run):
    command.report(run, [section("path_kl", problem="npm: expected it on the PATH"), section("guidance")])

    text = Elements((run.out / "index.html").read_text()).text
    assert text.count("Not measured: npm: expected it on the PATH") == 2
    assert "The sum of guidance is" in text
    assert set(entries(run)["path_kl"]) == {"about"}


def test_sections_measured_before_stay_on_the_page(run, monkeypatch):
    command.report(run, [section("path_kl", numbers={"values": [7.0]})])
    monkeypatch.setattr(command, "load", section)
    command.report(run, [section("guidance")])

    text = Elements((run.out / "index.html").read_text()).text
    assert "The sum of path_kl is 7.000" in text and "The sum of guidance is 1.000" in text
    assert set(entries(run)) == {"path_kl", "guidance"}


def test_numbers_of_another_version_are_stated_and_kept(run, monkeypatch):
    command.report(run, [section("path_kl", numbers={"values": [7.0]})])
    file = run.out / "report.json"
    file.write_text(file.read_text().replace('"values"', '"worth"'))
    monkeypatch.setattr(command, "load", section)

    assert command.report(run, [section("guidance")]) == []

    text = Elements((run.out / "index.html").read_text()).text
    assert "is of another version (KeyError('values')); --only path_kl measures it anew" in text
    assert entries(run)["path_kl"]["worth"] == [7.0]


def test_after_each_section_all_is_written(run):
    def breaks(_run):
        assert set(entries(run)) == {"path_kl"}
        assert "The sum of path_kl" in (run.out / "index.html").read_text()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.report(run, [section("path_kl"), Section("guidance", "", "", breaks, None)])

    assert set(entries(run)) == {"path_kl"}


def test_what_a_long_section_has_so_far_is_on_the_page(run):
    def breaks(run):
        run.so_far({"values": [2.0]})
        raise KeyboardInterrupt

    shown = section("path_kl")
    with pytest.raises(KeyboardInterrupt):
        command.report(run, [Section("path_kl", "", "", breaks, shown.show)])
    unfinished = Elements((run.out / "index.html").read_text()).text
    command.report(run, [shown])
    finished = Elements((run.out / "index.html").read_text()).text

    assert "The sum of path_kl is 2.000" in unfinished and "Unfinished" in unfinished
    assert "The sum of path_kl is 1.000" in finished and "Unfinished" not in finished


@pytest.mark.parametrize("breaks_at", [0, 1, 4, UNITS - 1])
def test_a_run_that_broke_off_goes_on_and_ends_in_the_same_numbers(tmp_path, breaks_at):
    whole, broken, log = Run(tmp_path / "whole"), Run(tmp_path / "broken"), tmp_path / "broken.log"
    for run in (whole, broken):
        run.out.mkdir()
    command.report(whole, [section(log=tmp_path / "whole.log")])

    with pytest.raises(KeyboardInterrupt):
        command.report(broken, [section(log=log, breaks_at=breaks_at)])
    assert not (broken.out / "report.json").exists()
    log.with_suffix(".mended").touch()
    command.report(broken, [section(log=log, breaks_at=breaks_at)])

    assert entries(broken) == entries(whole)
    assert log.read_text().split() == [str(number) for number in range(UNITS)], "no unit twice"


def test_a_section_that_fails_is_stated_and_the_next_one_measured(run, capsys):
    def fails(_run):
        return 1 / 0

    failed = command.report(run, [Section("path_kl", "Of zero", "", fails, None), section("guidance")])

    text = Elements((run.out / "index.html").read_text()).text
    assert failed == ["path_kl"]
    assert text.count("Not measured: it failed, with ZeroDivisionError: division by zero") == 2
    assert "The sum of guidance is" in text
    assert "return 1 / 0" in capsys.readouterr().err, "the traceback"


def test_a_number_that_json_cannot_say_is_refused(run):
    assert command.report(run, [section(numbers={"values": [float("nan")]})]) == ["path_kl"]
    assert "ValueError: Out of range float values are not JSON compliant" in entries(run)["path_kl"]["about"]["problem"]


def test_a_failure_is_told_by_the_exit_status(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load", lambda id: section(id, numbers={"values": [float("inf")]}))

    with pytest.raises(SystemExit, match=r"Failed: path_kl\."):
        command.main(["--out", str(tmp_path), "--only", "path_kl"])


def test_show_gets_the_numbers_as_the_file_has_them(run):
    seen = []
    shown = Section(
        "path_kl", "", "", lambda _run: {3: (1, 2)}, lambda numbers, _: seen.append(numbers) or Findings([], [], [])
    )

    command.report(run, [shown])

    assert seen == [{"3": [1, 2]}]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "file"
    page.write(file, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("power failure")))

    with pytest.raises(OSError, match="power failure"):
        page.write(file, "new")

    assert file.read_text() == "old"


def test_a_digest_tells_files_apart(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"ab")
    two.write_bytes(b"c")

    first = digest(one, two)
    one.write_bytes(b"a")
    two.write_bytes(b"bc")

    assert digest(one, two) != first


@pytest.mark.parametrize("id", command.MODULES)
def test_every_section_is_where_it_is_said_to_be(id):
    found = command.load(id)

    assert found.id == id and found.title and found.question.endswith("?")


def test_an_unknown_section_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(["--out", str(tmp_path), "--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_named(capsys):
    with pytest.raises(SystemExit):
        command.main(["--out", __file__])
    assert "--out: expected a folder that can be written to" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_says_how_to_go_on(tmp_path):
    process = interruptible.start(
        [sys.executable, "-u", "-m", "evidence.report", "--out", str(tmp_path), "--only", "trained"],
        cwd=Path(command.__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline() or "\n"
        while line and not line.startswith("=="):
            line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 130
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
