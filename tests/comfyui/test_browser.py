"""The page that users see: ComfyUI's own front end in Debian's Chromium, used with mouse and keyboard.

What it looked like is in ``out/browser/``, by ComfyUI's version.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from .client import Client
from .graphs import example
from .server import ComfyServer
from .test_sampler_names import by_name

KEPT = Path(__file__).resolve().parents[2] / "out" / "browser"
CHROMIUM = shutil.which("chromium")
APP = "(window.app ?? window.comfyAPI.app.app)"
SAMPLER, SAMPLING, SIGMAS, REPORT = "LGSSampler", "SamplerCustomAdvanced", "KarrasScheduler", "LGSReport"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="to run these in a browser, install Chromium (Debian: apt install chromium)"
)


class Editor:
    """The open page. A node is known by its type, of which the graph has one."""

    def __init__(self, page: Page, folder: Path):
        self.page = page
        self.folder = folder
        self.pictures = 0

    def keep(self, name: str) -> None:
        """Keeps what the page looks like."""
        self.pictures += 1
        self.page.screenshot(path=self.folder / f"{self.pictures:02} {name}.png")

    def open_template(self, name: str, node: str = SAMPLER) -> None:
        """By the template browser; ``node`` is one that the graph has."""
        self.page.get_by_role("button", name="Templates", exact=True).click()
        self.page.get_by_text("comfyui-lgs", exact=True).last.click()
        card = self.page.get_by_test_id(f"template-workflow-{name}")
        expect(card).to_be_visible()
        card.scroll_into_view_if_needed()  # its picture is loaded only then
        self.page.wait_for_function("card => card.querySelector('img')?.naturalWidth > 0", arg=card.element_handle())
        self.keep("templates")
        card.click()
        expect(card).to_be_hidden()
        self.page.wait_for_function(f"() => {APP}.graph._nodes.some(node => node.type === '{node}')")
        self.settle()

    def settle(self) -> None:
        """Until the canvas stands still."""
        where = None
        while where != (where := self.page.evaluate(f"() => [...{APP}.canvas.ds.offset, {APP}.canvas.ds.scale]")):
            self.page.wait_for_timeout(500)

    def of(self, node: str, expression: str) -> object:
        """A JavaScript expression of ``node``."""
        found = f"{APP}.graph._nodes.find(node => node.type === '{node}')"
        return self.page.evaluate(f"() => {{ const app = {APP}, node = {found}; return {expression} }}")

    def title(self, node: str) -> tuple[float, float]:
        """Where on the page a node's title is."""
        return tuple(self.of(node, "app.canvasPosToClientPos([node.pos[0] + 60, node.pos[1] - 15])"))

    def widget(self, node: str, name: str) -> tuple[float, float]:
        """Where on the page the middle of an input is."""
        widget = f"node.widgets.find(widget => widget.name === '{name}')"
        middle = f"[node.pos[0] + node.size[0] / 2, node.pos[1] + {widget}.last_y + 10]"
        return tuple(self.of(node, f"app.canvasPosToClientPos({middle})"))

    def value(self, node: str, name: str) -> object:
        return self.of(node, f"node.widgets.find(widget => widget.name === '{name}').value")

    def type_in(self, node: str, name: str, value: str) -> None:
        """Clicks an input of numbers and types another one."""
        self.page.mouse.click(*self.widget(node, name))
        field = self.page.locator(".graphdialog input")
        field.fill(value)
        field.press("Enter")
        expect(field).to_be_hidden()

    def choose(self, node: str, name: str, value: str) -> None:
        """Clicks an input of choices and takes one from the menu."""
        self.page.mouse.click(*self.widget(node, name))
        self.page.locator(".litecontextmenu").get_by_text(value, exact=True).click()

    def run(self) -> None:
        self.page.get_by_test_id("queue-button").click()

    def stop(self) -> None:
        self.page.get_by_role("button", name="Cancel current run").click()

    def sampled(self) -> float | None:
        """How much of the sampling node's bar is full; None where it is not running."""
        return self.of(SAMPLING, "node.progress")

    def showing(self, node: str) -> list[str]:
        """The addresses of the pictures that a node shows, once they are there."""
        return self.of(
            node, "(node.imgs ?? []).filter(picture => picture.naturalWidth > 0).map(picture => picture.src)"
        )

    def wait_for_pictures(self, node: str, other_than: list[str], count: int) -> list[str]:
        deadline = time.monotonic() + 60
        while len(shown := self.showing(node)) != count or shown == other_than:
            assert time.monotonic() < deadline, f"{node} shows {shown}"
            self.page.wait_for_timeout(100)
        return shown

    def wait_for_progress(self, least: float) -> list[float]:
        """What the bar showed until it was so full."""
        seen, deadline = [], time.monotonic() + 60
        while not seen or seen[-1] < least:
            assert time.monotonic() < deadline, seen
            if (now := self.sampled()) is not None and now not in seen[-1:]:
                seen.append(now)
            self.page.wait_for_timeout(20)
        return seen

    def told(self, words: re.Pattern) -> Locator:
        """Text that the page shows; newer versions hide the text of an error behind a button."""
        details = self.page.get_by_role("button", name=re.compile("View details|Show report", re.IGNORECASE)).last
        text = self.page.get_by_text(words).filter(visible=True).last
        expect(text.or_(details).first).to_be_visible()
        if not text.is_visible():
            details.click()
        expect(text).to_be_visible()
        return text


@pytest.fixture
def editor(comfy: Client, request: pytest.FixtureRequest) -> Iterator[Editor]:
    """The page with the demo graph, as a user finds it who has seen the tour."""
    version = comfy.get_json("/system_stats")["system"]["comfyui_version"]
    folder = KEPT / version / request.node.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    comfy.post("/settings", {"Comfy.TutorialCompleted": True})
    with sync_playwright() as playwright:
        # Chromium's own sandbox is not to be had in a container.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        page.goto(f"http://{comfy.address}/", wait_until="domcontentloaded")
        editor = Editor(page, folder)
        editor.open_template("lgs_demo_digits")
        yield editor
        editor.keep("end")
        browser.close()


def declared_inputs(comfy: Client) -> dict[str, dict]:
    """The options of each of LGS Sampler's widgets, by name."""
    declared = comfy.get_json(f"/object_info/{SAMPLER}")[SAMPLER]["input"]["optional"]
    return {name: options for name, (kind, options) in declared.items() if kind != "LGS_DIAGONAL"}


def test_nodes_picture_and_report(editor: Editor, comfy: Client):
    inputs = declared_inputs(comfy)
    assert editor.of(SAMPLER, "node.widgets.map(widget => widget.name)") == list(inputs)
    assert editor.of(SAMPLER, "node.widgets.map(widget => widget.value)") == [
        options["default"] for options in inputs.values()
    ]

    x, y = editor.widget(SAMPLER, "lanczos_steps")
    editor.page.mouse.move(x - 20, y)
    editor.page.mouse.move(x, y)
    expect(editor.page.locator(".node-tooltip")).to_have_text(inputs["lanczos_steps"]["tooltip"])
    editor.keep("tooltip")

    # So that a step has several evaluations.
    editor.choose(SAMPLER, "covariance", "lanczos")
    editor.type_in(SAMPLER, "lanczos_steps", "2")
    assert editor.value(SAMPLER, "lanczos_steps") == 2
    editor.type_in(SIGMAS, "steps", "60")
    editor.run()
    seen = editor.wait_for_progress(0.3)
    editor.keep("progress")
    assert seen == sorted(seen)
    assert any(round(60 * share, 6) % 1 for share in seen), "within a step, too"

    files = editor.wait_for_pictures("SaveImage", [], count=10)
    assert all("lgs_demo_digits" in file for file in files)
    editor.wait_for_pictures("PreviewImage", [], count=10)
    editor.wait_for_pictures(REPORT, [], count=1)
    assert editor.of(REPORT, "[node.imgs[0].naturalWidth, node.imgs[0].naturalHeight]") == [1200, 960]
    editor.keep("picture and report")


def test_five_inputs_are_shown_and_the_rest_on_request(editor: Editor, comfy: Client):
    """By ComfyUI's modern design of nodes; its classic one, which draws on the canvas, folds no node's inputs."""
    settings = f"{APP}.extensionManager.setting"
    if editor.page.evaluate(f"() => {settings}.get('Comfy.Node.AlwaysShowAdvancedWidgets')") is None:
        pytest.skip("this front end folds no inputs: to run this, take ComfyUI 0.29.0")
    inputs = declared_inputs(comfy)
    names = [options["display_name"] for options in inputs.values()]
    first = [options["display_name"] for options in inputs.values() if not options.get("advanced")]
    editor.page.evaluate(f"() => {settings}.set('Comfy.VueNodes.Enabled', true)")
    try:
        node = editor.page.locator(f"[data-node-id='{editor.of(SAMPLER, 'node.id')}']")
        labels = node.get_by_test_id("widget-layout-field-label")
        expect(labels).to_have_text(first)
        assert len(first) == 5
        editor.keep("five inputs")
        node.get_by_test_id("advanced-inputs-button").click()
        expect(labels).to_have_text(names)
        editor.keep("all inputs")
    finally:  # it is kept by the server
        editor.page.evaluate(f"() => {settings}.set('Comfy.VueNodes.Enabled', false)")


def test_a_graph_that_was_saved_with_old_names(editor: Editor):
    """By position, as the page has the values of a node: under the names of now, and the same values."""
    saved = json.loads((Path(__file__).with_name("saved_graphs") / "editor.json").read_text(encoding="utf-8"))
    editor.page.evaluate(f"saved => {APP}.loadGraphData(saved)", saved)
    editor.settle()
    posted = editor.page.evaluate(f"async () => (await {APP}.graphToPrompt()).output")
    [sampler] = [node["inputs"] for node in posted.values() if node["class_type"] == SAMPLER]
    [node] = [node for node in saved["nodes"] if node["type"] == SAMPLER]
    names = [entry["name"] for entry in node["inputs"] if "widget" in entry]
    assert "lanczos_min_sigma" in names and "lanczos_min_sigma" not in sampler
    now = [name.replace("lanczos_m", "covariance_m") for name in names]
    assert {name: sampler[name] for name in now} == dict(zip(now, node["widgets_values"], strict=True))
    editor.keep("old names")


def test_it_is_chosen_in_the_list_of_ksampler(editor: Editor, pack: Path):
    posted = by_name(example(pack), "euler", seed=5, denoise=1.0)
    editor.page.evaluate(f"posted => {APP}.loadApiJson(posted, 'ksampler')", posted)
    editor.settle()
    editor.choose("KSampler", "sampler_name", "lgs")
    assert editor.value("KSampler", "sampler_name") == "lgs"
    editor.keep("ksampler")
    editor.run()
    editor.wait_for_pictures("SaveImage", [], count=10)
    editor.keep("ksampler's pictures")
    # The list is as long as the host's and two more, and ends with ours.
    names = editor.of("KSampler", "node.widgets.find(widget => widget.name === 'sampler_name').options.values")
    assert {"euler", "dpmpp_2m"} < set(names) and names[-2:] == ["lgs", "lgs_lanczos"]


def test_stop_in_the_middle_and_again(editor: Editor):
    editor.run()
    first = editor.wait_for_pictures("SaveImage", [], count=10)

    editor.type_in(SIGMAS, "steps", "3000")
    editor.run()
    editor.wait_for_progress(0.001)
    editor.stop()
    editor.page.wait_for_function(
        f"() => {APP}.graph._nodes.find(node => node.type === '{SAMPLING}').progress === undefined", timeout=10_000
    )
    editor.keep("stopped")
    assert editor.showing("SaveImage") == first

    editor.type_in(SIGMAS, "steps", "10")
    editor.type_in("RandomNoise", "noise_seed", "7")
    editor.run()
    editor.wait_for_pictures("SaveImage", first, count=10)
    editor.keep("again")


def test_what_is_missing_is_told(editor: Editor):
    editor.choose(SAMPLER, "covariance", "diagonal-learned")
    assert editor.value(SAMPLER, "covariance") == "diagonal-learned"
    editor.run()
    editor.told(re.compile("Connect Load Diagonal Covariance, or choose diagonal"))
    editor.keep("what is missing")


def test_the_help_page(editor: Editor):
    editor.page.mouse.click(*editor.title(SAMPLER))
    editor.page.get_by_test_id("info-button").or_(editor.page.get_by_role("button", name="Node Info")).first.click()
    expect(editor.page.get_by_text("How to use it", exact=True)).to_be_visible()
    expect(editor.page.get_by_text("what the model leaves undecided at each step").last).to_be_visible()
    editor.keep("help")


def test_a_start_is_fitted_and_used(editor: Editor, comfy: Client, server: ComfyServer):
    editor.open_template("lgs_start", "LGSFitStart")
    declared = comfy.get_json("/object_info/LGSFitStart")["LGSFitStart"]["input"]
    inputs = declared["required"] | declared["optional"]
    widgets = [name for name, (_, options) in inputs.items() if "default" in options]
    assert sorted(editor.of("LGSFitStart", "node.widgets.map(widget => widget.name)")[: len(widgets)]) == sorted(
        widgets
    )
    assert editor.value("LGSFitStart", "seed") == 0
    editor.run()
    first = editor.wait_for_pictures("SaveImage", [], count=4)
    editor.wait_for_pictures("LGSFitStart", [], count=3)
    editor.keep("fitted")
    shutil.rmtree(server.folder / "models" / "lgs")
    assert all("lgs_start" in file for file in first)
    assert editor.value("LGSFitStart", "seed") == 0, "or it is fitted anew for each run"
    assert "control_after_generate" not in editor.of("LGSFitStart", "node.widgets.map(widget => widget.name)")
