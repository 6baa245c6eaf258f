"""Starts in ComfyUI: fitted to the model or to pictures, kept, loaded, and put before any sampler."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import lgs
from evidence.models.mnist import held_out_digits
from lgs.starts.schedule import respaced

from .client import Client, Rejected, Run
from .graphs import (
    DECODE,
    GUIDER,
    MODEL,
    SAMPLER,
    SAMPLING,
    SAVE,
    SIGMAS,
    assert_read,
    digit_mean,
    karras_sigmas,
    saved_latent,
    with_inputs,
    with_node,
    with_tiny_model,
)
from .loaded import sd15_unet
from .server import ComfyServer
from .workflows import add, scheduled

FIT, LOAD, START, TEXT, RECORDER, PICTURE = "40", "41", "42", "43", "44", "45"

DIGITS = "0123456789"


@pytest.fixture
def starts(server: ComfyServer) -> Iterator[Path]:
    """ComfyUI's folder of starts, which is not there before and after."""
    folder = server.folder / "models" / "lgs" / "starts"
    shutil.rmtree(folder.parent, ignore_errors=True)
    yield folder
    shutil.rmtree(folder.parent, ignore_errors=True)


def fitting(example: dict, **inputs: object) -> dict:
    """The example's model, to which a start is fitted; nothing is sampled."""
    graph = {number: example[number] for number in (MODEL, GUIDER)}
    wired = {"guider": [GUIDER, 0], "name": "a start", "evaluations": 64, **inputs}
    if not wired.keys() & {"latents", "images", "folder"}:
        wired.setdefault("latent_image", [MODEL, 4])
    graph = with_node(graph, FIT, "LGSFitStart", **wired)
    return with_node(graph, TEXT, "PreviewAny", source=[FIT, 2])


def started(example: dict, start: object = None, sampler: object = None, **inputs: object) -> dict:
    """The example graph with a start before its sampler, or another."""
    graph = with_node(example, LOAD, "LGSLoadStart", file="a start.safetensors")
    wired = {"sampler": sampler or [SAMPLER, 0], "sigmas": [SIGMAS, 0], "start": start or [LOAD, 0], "sigma": 5.0}
    graph = with_node(graph, START, "LGSStart", **wired | inputs)
    graph[SAMPLING]["inputs"] |= {"sampler": [START, 0], "sigmas": [START, 1]}
    return graph


def recorded(graph: dict) -> dict:
    """With a sampler that writes down what LGS Start gives it."""
    graph = with_node(graph, RECORDER, "LGSTestRecorder", name="given")
    graph[START]["inputs"]["sampler"] = [RECORDER, 0]
    return graph


def given(server: ComfyServer) -> dict[str, Tensor]:
    """What the recorder was given, in the last run."""
    file = server.folder / "output" / "given.recorded"
    numbers = load_file(file)
    file.unlink()
    return numbers


def succeeded(run: Run) -> Run:
    assert run.outcome == "execution_success", run.details.get("exception_message", run.details)
    return run


def refusal(comfy: Client, graph: dict) -> str:
    """What ComfyUI says of a graph, before it runs or while it does."""
    try:
        run = comfy.run(graph)
    except Rejected as rejected:
        return str(rejected.errors)
    assert run.outcome == "execution_error", run.outcome
    return run.details["exception_message"]


def fitted(comfy: Client, graph: dict, starts: Path, name: str = "a start") -> lgs.GaussianPrior:
    succeeded(comfy.run(graph))
    return lgs.GaussianPrior.load(starts / f"{name}.safetensors")


def host_noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.manual_seed(seed))


def make_start(starts: Path, shape: tuple[int, ...], seed: int = 5, **about: str) -> lgs.GaussianPrior:
    """A law that no model has, kept as "a start"."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(shape.numel(), 4, generator=generator)).Q
    mean = torch.randn(shape, generator=generator)
    variances = torch.tensor([90.0, 40.0, 10.0, 3.0])
    prior = lgs.GaussianPrior(mean, basis.reshape(*shape, 4), variances, 0.3, {"process": "ve"} | about)
    starts.mkdir(parents=True, exist_ok=True)
    prior.save(starts / "a start.safetensors")
    return prior


DIGIT_SHAPE, TINY_SHAPE = torch.Size((1, 32, 32)), torch.Size((4, 8, 8))


# Fitting


def test_fitted_to_the_model_it_is_what_the_model_says(comfy: Client, example: dict, pack: Path, starts: Path):
    graph = with_inputs(fitting(example, evaluations=50, rank=6, seed=3), digits=DIGITS)
    run = succeeded(comfy.run(graph))
    prior = lgs.GaussianPrior.load(starts / "a start.safetensors")

    expected = lgs.GaussianPrior.from_model(
        digit_mean(pack, DIGITS),
        (1, 32, 32),
        40.0,
        6,
        evaluations=30,
        batch=10,
        generator=torch.Generator().manual_seed(3),
    )
    torch.testing.assert_close(prior.mean, expected.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(prior.variances, expected.variances, rtol=1e-3, atol=1e-3)
    assert prior.about["source"] == "model" and prior.about["evaluations"] == "30"
    assert prior.about["process"] == "ve" and prior.about["seed"] == "3"
    assert prior.level(5) is not None
    [text] = run.outputs[TEXT]["text"]
    assert "latents of 1 x 32 x 32, fitted to the model itself, in 30 evaluations at sigma 40." in text
    assert f"6 components of variance {prior.variances[0]:.3g}, {prior.variances[1]:.3g}" in text
    assert "Kept as starts/a start.safetensors" in text
    [picture] = [comfy.picture(file) for file in run.outputs[FIT]["images"]][:1]
    assert picture.size == (96, 32) and len(run.outputs[FIT]["images"]) == 3
    values = [message["value"] for message in run.progress if message["node"] == FIT]
    assert values == sorted(values) and set(values) & {10, 20, 30}
    assert run.progress[-1]["value"] == run.progress[-1]["max"] == 50


def test_the_seed_decides_it_and_nothing_is_fitted_anew_without_a_change(comfy: Client, example: dict, starts: Path):
    one, again, other = (fitted(comfy, fitting(example, evaluations=20, seed=seed), starts).mean for seed in (1, 1, 2))
    assert one.equal(again) and not one.equal(other)
    info = comfy.get_json("/object_info/LGSFitStart")["LGSFitStart"]["input"]["optional"]["seed"][1]
    assert info["control_after_generate"] is False, "or the editor draws another one for each run"


def test_a_flow_and_a_model_with_a_latent_format(comfy: Client, example: dict, starts: Path):
    graph = with_tiny_model(example, "flux")
    graph = {number: node for number, node in graph.items() if number in (MODEL, GUIDER)}
    graph = with_node(
        graph, FIT, "LGSFitStart", guider=[GUIDER, 0], name="a start", latent_image=[MODEL, 2], evaluations=10
    )
    prior = fitted(comfy, graph, starts)
    assert prior.shape == TINY_SHAPE
    assert prior.about["process"] == "flow" and prior.about["sigma"] == "0.97"


def test_earlier_results_are_taken_into_the_models_own_space(
    comfy: Client, server: ComfyServer, example: dict, starts: Path
):
    """SD 1.5's latents are 0.18215 of what its VAE gives: x has the smaller numbers."""
    graph = with_tiny_model(example, "unet")
    latents = 5 + torch.randn(12, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    save_file(
        {"latent_tensor": latents, "latent_format_version_0": torch.zeros(0)}, server.folder / "input" / "l.latent"
    )
    graph = {number: node for number, node in graph.items() if number in (MODEL, GUIDER)}
    graph = with_node(graph, "50", "LoadLatent", latent="l.latent")
    graph = with_node(graph, FIT, "LGSFitStart", guider=[GUIDER, 0], name="a start", latents=["50", 0], rank=3)
    prior = fitted(comfy, graph, starts)
    expected = lgs.GaussianPrior.fit(0.18215 * latents, 3)
    torch.testing.assert_close(prior.mean, expected.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(prior.variances, expected.variances, rtol=1e-4, atol=1e-6)
    assert prior.about["source"] == "pictures" and prior.about["count"] == "12"


@pytest.fixture
def digit_pictures(server: ComfyServer) -> Iterator[tuple[Path, Tensor]]:
    """A folder of pictures in ComfyUI's input, and what is in them, (20, 1, 32, 32) in -1..1."""
    folder = server.folder / "input" / "digits"
    folder.mkdir()
    levels = ((held_out_digits()[0][:100:5] + 1) * 127.5).round().byte()
    for number, picture in enumerate(levels):
        Image.fromarray(picture[0].numpy()).save(folder / f"{number:03}.png")
    yield folder, levels.float() / 127.5 - 1
    shutil.rmtree(folder)


def test_a_folder_of_pictures(comfy: Client, example: dict, starts: Path, digit_pictures: tuple[Path, Tensor]):
    folder, pictures = digit_pictures
    (folder / "notes.txt").write_text("no picture")
    graph = fitting(example, folder="digits", vae=[MODEL, 3])
    prior = fitted(comfy, graph, starts)
    expected = lgs.GaussianPrior.fit(pictures)
    torch.testing.assert_close(prior.mean, expected.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(prior.variances, expected.variances, rtol=1e-3, atol=1e-4)
    assert prior.about["count"] == "20"


def test_a_folder_an_image_and_latents_at_once(
    comfy: Client, example: dict, starts: Path, digit_pictures: tuple[Path, Tensor]
):
    _, pictures = digit_pictures
    graph = fitting(example, folder="digits", vae=[MODEL, 3], images=["50", 0], latents=["51", 0], rank=4)
    graph = with_node(graph, "50", "LoadImage", image="digits/000.png")
    graph = with_node(graph, "51", "VAEEncode", pixels=["52", 0], vae=[MODEL, 3])
    graph = with_node(graph, "52", "LoadImage", image="digits/001.png")
    prior = fitted(comfy, graph, starts)
    expected = lgs.GaussianPrior.fit(torch.cat([pictures[1:2], pictures[:1], pictures]), 4)
    assert prior.about["count"] == "22"
    # The host reads a picture to within a few levels of 255.
    torch.testing.assert_close(prior.mean, expected.mean, rtol=0, atol=2e-3)
    without = lgs.GaussianPrior.fit(pictures, 4).mean
    assert (without - expected.mean).abs().max() > 0.02, "or the two do not show"


def test_a_folder_that_has_changed_is_fitted_anew(
    servers, pack: Path, example: dict, digit_pictures: tuple[Path, Tensor]
):
    server = servers.running(pack, "--cache-lru", "100")
    client = Client(server.address)
    folder = server.folder / "input" / "digits"
    shutil.copytree(digit_pictures[0], folder)
    file = server.folder / "models" / "lgs" / "starts" / "a start.safetensors"
    graph = fitting(example, folder="digits", vae=[MODEL, 3], rank=2)
    succeeded(client.run(graph))
    first = file.stat().st_mtime_ns
    succeeded(client.run(graph))
    assert file.stat().st_mtime_ns == first, "nothing has changed"
    (folder / "000.png").unlink()
    succeeded(client.run(graph))
    assert file.stat().st_mtime_ns > first
    assert lgs.GaussianPrior.load(file).about["count"] == "19"


def without_guider(graph: dict) -> dict:
    del graph[FIT]["inputs"]["guider"]
    return graph


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"folder": "empty"}, "expected pictures (.png"),
        ({"folder": "one", "vae": [MODEL, 3]}, "at least two pictures, got 1"),
        ({"folder": "several", "vae": [MODEL, 3]}, "got a.png of 32 x 32 and b.png of 16 x 32"),
        ({"folder": "damaged", "vae": [MODEL, 3]}, "bad.png is no picture that can be read"),
        ({"folder": "nowhere"}, "which is none"),
        ({"folder": ".."}, "leads out of it"),
        ({"folder": "../output"}, "leads out of it"),
        ({"folder": "/etc"}, "leads out of it"),
        ({"folder": "away"}, "leads out of it"),
        ({"folder": "a link"}, "passwd.png is a link that leads out"),
        ({"folder": "one"}, "vae: expected one"),
        ({"latent_image": [MODEL, 4], "rank": 64}, "rank: expected 0 to 35"),
    ],
    ids=str,
)
def test_what_cannot_be_fitted_is_refused(
    comfy: Client, server: ComfyServer, example: dict, starts: Path, inputs: dict, words: str
):
    place = server.folder / "input"
    for folder, pictures in {
        "empty": {},
        "one": {"a.png": (32, 32)},
        "several": {"a.png": (32, 32), "b.png": (16, 32)},
        "damaged": {"a.png": (32, 32)},
        "a link": {"a.png": (32, 32)},
    }.items():
        (place / folder).mkdir(exist_ok=True)
        for name, size in pictures.items():
            Image.new("RGB", size).save(place / folder / name)
    (place / "damaged" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    for link, target in (("a link/passwd.png", "/etc/passwd"), ("away", "/etc")):
        if not (place / link).is_symlink():
            (place / link).symlink_to(target)
    assert words in refusal(comfy, fitting(example, **inputs))
    assert not starts.exists() or not list(starts.iterdir()), "nothing is left"


def test_latents_of_another_kind_of_model_are_refused(comfy: Client, example: dict, starts: Path):
    graph = with_node(fitting(example, latents=["50", 0]), "50", "LGSTestOnes", channels=4)
    assert "expected latents of 1 channels" in refusal(comfy, graph)


def test_there_has_to_be_a_guider_and_a_size(comfy: Client, example: dict, starts: Path):
    assert "guider" in refusal(comfy, without_guider(fitting(example)))
    graph = fitting(example)
    del graph[FIT]["inputs"]["latent_image"]
    assert "latent_image: expected a latent, which says the size" in refusal(comfy, graph)


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", "a\\b", "../x", "x..y", ".x", "x.", "a:b", "nul", "x\n", "a.safetensors"]
)
def test_a_name_that_is_none_is_refused(comfy: Client, server: ComfyServer, example: dict, starts: Path, name: str):
    message = refusal(comfy, fitting(example, name=name))
    assert "expected letters, digits" in message
    # Wired, it is not seen before the node runs.
    graph = with_node(fitting(example, name=["50", 0]), "50", "PrimitiveString", value=name)
    assert "name: expected letters, digits" in refusal(comfy, graph)
    assert not list((server.folder / "models").rglob("*.safetensors"))


def test_stopped_it_leaves_no_start_and_goes_on_where_it_was(comfy: Client, example: dict, starts: Path):
    begun, stopped = [], []

    def stop(run: Run, kind: str) -> None:
        if kind == "progress" and run.executing == FIT and not stopped:
            begun.append(run.progress[-1]["value"])
            if len(begun) == 3:
                comfy.interrupt()
                stopped.append(time.monotonic())

    run = comfy.run(fitting(example, evaluations=20000), stop)
    assert run.outcome == "execution_interrupted"
    assert time.monotonic() - stopped[0] < 3
    [left] = starts.iterdir()
    assert left.name.startswith(".") and left.suffix == ".unfinished"
    assert offered(comfy) == ["bundled digits"]
    first = begun[0]
    begun.clear(), stopped.clear()

    assert comfy.run(fitting(example, evaluations=20000), stop).outcome == "execution_interrupted"
    assert begun[0] > 2 * first, "it begins after what it has"

    # Other settings are another fit.
    assert fitted(comfy, fitting(example, evaluations=10), starts)
    assert [file for file in starts.iterdir() if file.suffix not in (".unfinished", ".safetensors")] == []


# Loading


def offered(comfy: Client, node: str = "LGSLoadStart") -> list[str]:
    return comfy.get_json(f"/object_info/{node}")[node]["input"]["optional"]["file"][1]["options"]


def test_the_two_loaders_list_their_own_files(comfy: Client, starts: Path):
    starts.mkdir(parents=True)
    for file in (starts / "mine.safetensors", starts / "old.ckpt", starts.parent / "diagonal.safetensors"):
        file.touch()
    assert offered(comfy) == ["bundled digits", "mine.safetensors"]
    assert offered(comfy, "LGSLoadDiagonal") == ["bundled digits", "diagonal.safetensors"]


def loading(file: object) -> dict:
    graph = with_node({}, LOAD, "LGSLoadStart", file=file)
    return with_node(graph, TEXT, "PreviewAny", source=[LOAD, 1])


def test_it_comes_back_with_its_words(comfy: Client, example: dict, starts: Path):
    fitted_run = succeeded(comfy.run(fitting(example, evaluations=20)))
    run = succeeded(comfy.run(loading("a start.safetensors")))
    assert fitted_run.outputs[TEXT]["text"][0].startswith(run.outputs[TEXT]["text"][0])


def test_a_mixture_is_told_as_one(comfy: Client, starts: Path):
    starts.mkdir(parents=True)
    pictures = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    lgs.starts.MixturePrior.fit(pictures, 2, 3, rounds=1).save(starts / "mixture.safetensors")
    [text] = succeeded(comfy.run(loading("mixture.safetensors"))).outputs[TEXT]["text"]
    assert "A mixture start for latents of 1 x 8 x 8, fitted to 60 pictures." in text
    assert "2 components of weight 0." in text and "Not compared with a model" in text


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda _: b"text" * 99, lambda data: data[:-9]])
def test_a_damaged_file_is_refused(comfy: Client, starts: Path, spoil):
    make_start(starts, DIGIT_SHAPE)
    file = starts / "a start.safetensors"
    file.write_bytes(spoil(file.read_bytes()))
    message = refusal(comfy, loading("a start.safetensors"))
    assert str(file) in message and "no start that can be used" in message


def test_files_of_the_other_kind_are_refused(comfy: Client, example: dict, pack: Path, starts: Path):
    make_start(starts, DIGIT_SHAPE)
    shutil.copy(pack / "models" / "digits-diagonal.safetensors", starts)
    message = refusal(comfy, loading("digits-diagonal.safetensors"))
    assert "expected format 'lgs-start' in its metadata, got 'lgs-diagonal'" in message
    shutil.copy(starts / "a start.safetensors", starts.parent)
    for file in ("a start.safetensors", "starts/a start.safetensors", "x/../starts/a start.safetensors"):
        graph = with_node(example, "50", "LGSLoadDiagonal", file=file)
        graph[SAMPLER]["inputs"] |= {"covariance": "diagonal-learned", "diagonal": ["50", 0]}
        message = refusal(comfy, graph)
        assert "'lgs-diagonal' in its metadata, got 'lgs-start'" in message or "expected one of" in message, file


@pytest.mark.parametrize("file", ["gone.safetensors", "", "../diagonal.safetensors", "/etc/passwd"])
def test_a_file_that_is_not_there_is_refused(comfy: Client, starts: Path, file: str):
    message = refusal(comfy, loading(file))
    assert f"expected one of bundled digits, got {file!r}" in message.replace("\\\\", "\\")


# Sampling


def test_the_sampler_begins_where_the_prior_takes_the_noise(
    comfy: Client, server: ComfyServer, example: dict, starts: Path
):
    prior = make_start(starts, DIGIT_SHAPE)
    graph = with_inputs(recorded(started(example)), noise_seed=9)
    run = succeeded(comfy.run(graph))
    got = given(server)

    torch.testing.assert_close(got["sigmas"], respaced(karras_sigmas(10), 5.0)[1:], rtol=1e-5, atol=0)
    expected = prior.begin(host_noise(9, 10, 1, 32, 32), 5.0)
    torch.testing.assert_close(got["x"], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(got["noise"], expected / 5.0, rtol=0, atol=1e-4)
    assert [step["value"] for step in run.steps if step["node"] == SAMPLING] == list(range(2, 12))
    assert {step["max"] for step in run.steps if step["node"] == SAMPLING} == {11}
    assert len(run.previews) == 10


def test_from_a_picture_at_the_highest_level_it_begins_with_the_hosts_x(
    comfy: Client, server: ComfyServer, example: dict, starts: Path
):
    """Which at the model's largest level has more noise than below, as if x were variance preserving."""
    prior = make_start(starts, DIGIT_SHAPE)
    graph = with_node(recorded(started(example)), "50", "EmptyImage", width=32, height=32, batch_size=10, color=0)
    graph = with_node(graph, "51", "VAEEncode", pixels=["50", 0], vae=[MODEL, 3])
    graph[SAMPLING]["inputs"]["latent_image"] = ["51", 0]
    for highest, size in ((40.0, (1 + 40.0**2) ** 0.5), (20.0, 20.0)):
        succeeded(comfy.run(with_inputs(graph, noise_seed=9, sigma_max=highest)))
        expected = prior.teleport(host_noise(9, 10, 1, 32, 32) * size - 1, highest, 5.0)
        torch.testing.assert_close(given(server)["x"], expected, rtol=0, atol=1e-4)


def tiny(example: dict, architecture: str) -> dict:
    graph = with_tiny_model(example, architecture)
    return with_inputs(graph, noise_seed=9)


@pytest.mark.parametrize(("architecture", "level", "sigma"), [("unet", 2.0, 2.0), ("flux", 2.0, 2 / 3)])
def test_from_a_picture_it_begins_there_too(
    comfy: Client, server: ComfyServer, example: dict, starts: Path, architecture: str, level: float, sigma: float
):
    """Which the host gives in the space of the VAE: x is in the model's own."""
    flow = architecture == "flux"
    prior = make_start(starts, TINY_SHAPE, process="flow" if flow else "ve")
    graph = with_node(tiny(example, architecture), "50", "LGSTestOnes", channels=4)
    graph[SIGMAS]["inputs"]["denoise"] = 0.6
    graph[SAMPLING]["inputs"]["latent_image"] = ["50", 0]
    graph = recorded(started(graph, sigma=level))
    succeeded(comfy.run(graph))
    got = given(server)
    latent = torch.full((2, 4, 8, 8), 0.18215)
    torch.testing.assert_close(got["latent"], latent)
    top = top_level(comfy, server, graph)
    alpha, alpha_next = (1 - top, 1 - sigma) if flow else (1.0, 1.0)
    x = alpha * latent + top * host_noise(9, 2, 4, 8, 8)
    expected = prior.teleport(x, top, sigma, "flow" if flow else "ve")
    torch.testing.assert_close(got["x"], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got["noise"], (expected - alpha_next * latent) / sigma, rtol=1e-4, atol=1e-4)


def top_level(comfy: Client, server: ComfyServer, graph: dict) -> float:
    """The first of the scheduler's levels, as the recorder alone is given it."""
    graph = with_node(graph, SAMPLING, "SamplerCustomAdvanced", **graph[SAMPLING]["inputs"])
    graph[SAMPLING]["inputs"] |= {"sampler": [RECORDER, 0], "sigmas": [SIGMAS, 0]}
    graph = {number: node for number, node in graph.items() if number not in (START, LOAD)}
    succeeded(comfy.run(graph))
    return float(given(server)["sigmas"][0])


def test_a_picture_that_starts_below_is_left_to_the_sampler(comfy: Client, example: dict, starts: Path):
    make_start(starts, DIGIT_SHAPE)
    for sampler in ([SAMPLER, 0], ["50", 0]):
        graph = with_node(example, "50", "KSamplerSelect", sampler_name="dpmpp_2m")
        graph = with_inputs(graph, sigma_max=3.0)
        graph[SAMPLING]["inputs"]["sampler"] = sampler
        plain = succeeded(comfy.run(graph)).images
        assert succeeded(comfy.run(started(graph, sampler=sampler))).images.equal(plain)


def masked(graph: dict, latent: list) -> dict:
    """With a latent of which the left half is kept."""
    graph = with_node(graph, "60", "SolidMask", value=0.0, width=64, height=64)
    graph = with_node(graph, "61", "SolidMask", value=1.0, width=32, height=64)
    place = {"x": 32, "y": 0, "operation": "add"}
    graph = with_node(graph, "62", "MaskComposite", destination=["60", 0], source=["61", 0], **place)
    graph = with_node(graph, "63", "SetLatentNoiseMask", samples=latent, mask=["62", 0])
    graph[SAMPLING]["inputs"]["latent_image"] = ["63", 0]
    return graph


@pytest.mark.parametrize(("architecture", "level", "sigma"), [("unet", 2.0, 2.0), ("flux", 2.0, 2 / 3)])
def test_behind_a_mask_it_is_taken_given_what_is_kept(
    comfy: Client, server: ComfyServer, example: dict, starts: Path, architecture: str, level: float, sigma: float
):
    process = "flow" if architecture == "flux" else "ve"
    prior = make_start(starts, TINY_SHAPE, process=process)
    graph = with_node(tiny(example, architecture), "50", "LGSTestOnes", channels=4)
    graph[SIGMAS]["inputs"]["denoise"] = 0.6
    graph = recorded(started(masked(graph, ["50", 0]), sigma=level))
    succeeded(comfy.run(graph))
    got = given(server)
    top, noise, latent = top_level(comfy, server, graph), host_noise(9, 2, 4, 8, 8), got["latent"]
    alpha, alpha_next = (1 - top, 1 - sigma) if process == "flow" else (1.0, 1.0)
    mask = torch.zeros(2, 4, 8, 8)
    mask[..., 4:] = 1
    assert got["mask"].equal(mask)
    x = alpha * latent + top * noise
    expected = torch.cat(
        [one.teleport(x[i : i + 1], top, sigma, process) for i, one in enumerate(prior.given(latent, mask))]
    )
    plain = prior.teleport(x, top, sigma, process)
    torch.testing.assert_close(got["x"][..., 4:], expected[..., 4:], rtol=1e-4, atol=1e-4)
    assert (expected - plain)[..., 4:].norm() > 0.01 * plain.norm(), "or there is nothing to know"
    torch.testing.assert_close(got["noise"][..., :4], noise[..., :4], rtol=1e-5, atol=1e-5)
    known = alpha_next * latent + sigma * noise
    torch.testing.assert_close(got["x"][..., :4], known[..., :4], rtol=1e-4, atol=1e-4)
    saved = saved_latent(server)
    torch.testing.assert_close(saved[..., :4], torch.ones(2, 4, 8, 4), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("architecture", "level", "sigma"), [("unet", 2.0, 2.0), ("flux", 2.0, 2 / 3)])
def test_behind_a_mask_pure_noise_begins_with_the_law_given_what_is_kept(
    comfy: Client, server: ComfyServer, example: dict, starts: Path, architecture: str, level: float, sigma: float
):
    process = "flow" if architecture == "flux" else "ve"
    prior = make_start(starts, TINY_SHAPE, process=process)
    graph = with_node(tiny(example, architecture), "50", "LGSTestOnes", channels=4)
    succeeded(comfy.run(recorded(started(masked(graph, ["50", 0]), sigma=level))))
    got, noise = given(server), host_noise(9, 2, 4, 8, 8)
    laws = prior.given(got["latent"], got["mask"])
    expected = torch.cat([law.begin(noise[i : i + 1], sigma, process) for i, law in enumerate(laws)])
    torch.testing.assert_close(got["x"][..., 4:], expected[..., 4:], rtol=1e-4, atol=1e-4)
    known = ((1 - sigma) if process == "flow" else 1.0) * got["latent"] + sigma * noise
    torch.testing.assert_close(got["x"][..., :4], known[..., :4], rtol=1e-4, atol=1e-4)


def test_a_flow_with_noise_of_another_size(comfy: Client, server: ComfyServer, example: dict, starts: Path):
    """x = (1 - sigma) x_0 + 3 sigma noise is, scaled, a flow at another level."""
    prior = make_start(starts, TINY_SHAPE, process="flow")
    graph = with_node(tiny(example, "flux"), "50", "LGSTestNoiseScale", model=[MODEL, 0], scale=3.0)
    graph[GUIDER]["inputs"]["model"] = ["50", 0]
    graph = recorded(started(graph, sigma=2.0))
    succeeded(comfy.run(graph))
    sigma = 2 / 3
    size = 1 - sigma + 3 * sigma
    expected = size * prior.teleport(host_noise(9, 2, 4, 8, 8), 1.0, 3 * sigma / size, "flow")
    got = given(server)
    torch.testing.assert_close(got["x"], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got["noise"], expected / (3 * sigma), rtol=1e-4, atol=1e-4)


SAMPLERS = ["euler", "dpmpp_2m", "uni_pc", "dpmpp_2m_sde", "euler_ancestral", "heun", "dpm_adaptive", "lms"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_of_the_host(comfy: Client, example: dict, starts: Path, name: str):
    """With a start of the model's own, it draws what is asked for, at as many steps."""
    succeeded(comfy.run(with_inputs(fitting(example, evaluations=200), digits=DIGITS)))
    graph = with_node(example, "50", "KSamplerSelect", sampler_name=name)
    graph = with_inputs(started(graph, sampler=["50", 0], sigma=12.0), digits=DIGITS, noise_seed=2)
    run = succeeded(comfy.run(graph))
    assert_read(run.images, DIGITS)
    graph[SAMPLING]["inputs"] |= {"sampler": ["50", 0], "sigmas": [SIGMAS, 0]}
    assert (succeeded(comfy.run(graph)).images - run.images).abs().max() > 1, "the start has done something"


@pytest.mark.parametrize("architecture", ["unet", "flux"])
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "uni_pc", "lgs"])
def test_tiny_models_of_both_processes(
    comfy: Client, server: ComfyServer, example: dict, starts: Path, architecture: str, name: str
):
    make_start(starts, TINY_SHAPE, process="flow" if architecture == "flux" else "ve")
    graph = tiny(example, architecture)
    if name != "lgs":
        graph = with_node(graph, SAMPLER, "KSamplerSelect", sampler_name=name)
    succeeded(comfy.run(started(graph, sigma=2.0)))
    latent = saved_latent(server)
    assert latent.shape == (2, 4, 8, 8) and latent.isfinite().all() and latent.std() > 0


def test_an_item_is_the_same_in_any_batch(comfy: Client, server: ComfyServer, example: dict, starts: Path):
    make_start(starts, DIGIT_SHAPE)
    graph = recorded(started(example))
    succeeded(comfy.run(with_inputs(graph, digits="44")))
    both = given(server)["x"]
    succeeded(comfy.run(with_inputs(graph, digits="4")))
    torch.testing.assert_close(given(server)["x"], both[:1], rtol=1e-5, atol=1e-5)


def test_the_report_finds_the_run_of_the_sampler_inside(comfy: Client, example: dict, starts: Path):
    make_start(starts, DIGIT_SHAPE)
    graph = started(with_inputs(example, jvp="finite-difference"))
    graph = with_node(graph, "50", "LGSReport", sampler=[START, 0], latent=[SAMPLING, 0])
    graph = with_node(graph, "51", "LGSReport", sampler=[SAMPLER, 0], latent=[SAMPLING, 0])
    for number, report in (("52", "50"), ("53", "51")):
        graph = with_node(graph, number, "PreviewAny", source=[report, 1])
    run = succeeded(comfy.run(graph))
    for number in ("52", "53"):
        assert run.outputs[number]["text"][0].startswith("10 steps, 37 model evaluations, ")
    values = [message["value"] for message in run.progress if message["node"] == SAMPLING]
    assert values == sorted(values) and values[0] < 2 and values[-1] == 11
    assert {message["max"] for message in run.progress if message["node"] == SAMPLING} == {11}


def test_levels_that_end_above_need_a_higher_start(comfy: Client, example: dict, starts: Path):
    """The upper part of a split trajectory."""
    make_start(starts, DIGIT_SHAPE)
    graph = with_node(started(example, sigma=1.0), "50", "SplitSigmas", sigmas=[SIGMAS, 0], step=4)
    graph[START]["inputs"]["sigmas"] = ["50", 0]
    message = refusal(comfy, graph)
    assert "sigma: expected a level above" in message and "the last positive one of the schedule" in message


@pytest.mark.parametrize("sampler", ["uni_pc", "euler", "lgs"])
def test_nothing_is_left_for_the_sampler_where_its_levels_end_above(
    comfy: Client, server: ComfyServer, example: dict, starts: Path, sampler: str
):
    """With noise levels that are not those of LGS Start: x comes out at the last of them."""
    prior = make_start(starts, DIGIT_SHAPE)
    graph = with_node(started(example, sigma=1.0), "50", "SplitSigmas", sigmas=[SIGMAS, 0], step=4)
    graph[SAMPLING]["inputs"]["sigmas"] = ["50", 0]
    if sampler != "lgs":
        graph = with_node(graph, SAMPLER, "KSamplerSelect", sampler_name=sampler)
    graph = with_node(graph, SAVE, "SaveLatent", samples=[SAMPLING, 0], filename_prefix="tiny")
    del graph[DECODE]
    succeeded(comfy.run(with_inputs(graph, noise_seed=9)))
    expected = prior.begin(host_noise(9, 10, 1, 32, 32), float(karras_sigmas(10)[4]))
    torch.testing.assert_close(saved_latent(server), expected, rtol=1e-4, atol=1e-4)


def test_the_level_is_the_starts_own(comfy: Client, server: ComfyServer, example: dict, starts: Path):
    prior = fitted(comfy, with_inputs(fitting(example, evaluations=200), digits="3333"), starts)
    seen = set()
    for steps in (5, 10):
        level = prior.level(steps)
        assert level is not None and 1 < level < 20
        succeeded(comfy.run(with_inputs(recorded(started(example, sigma=0.0)), digits="3333", steps=steps)))
        assert float(given(server)["sigmas"][0]) == pytest.approx(level, rel=1e-4)
        seen.add(level)
    assert len(seen) == 2, "in more steps it begins higher"


def test_a_start_that_does_harm_everywhere_is_not_used(comfy: Client, server: ComfyServer, example: dict, starts: Path):
    told = {"levels": ["40", "20"], "nats": ["50", "90"]}
    make_start(starts, DIGIT_SHAPE, divergence=json.dumps(told))
    plain = succeeded(comfy.run(example)).images
    before = server.log_text()
    assert succeeded(comfy.run(started(example, sigma=0.0))).images.equal(plain)
    assert server.log_text().removeprefix(before).count("too far from this model at every noise level") == 1


def test_a_start_that_says_no_level_needs_one(comfy: Client, example: dict, starts: Path):
    make_start(starts, DIGIT_SHAPE)
    message = refusal(comfy, started(example, sigma=0.0))
    assert message.startswith("sigma: 0 takes the level that the start says") and "Give the noise level" in message


def test_a_start_of_another_size_is_refused(comfy: Client, example: dict, starts: Path):
    make_start(starts, torch.Size((1, 16, 32)))
    message = refusal(comfy, started(example))
    assert "fitted to latents of 1 x 16 x 32, and here they are of 1 x 32 x 32" in message


def test_a_start_of_another_process_is_refused(comfy: Client, example: dict, starts: Path):
    make_start(starts, TINY_SHAPE, process="flow")
    message = refusal(comfy, started(tiny(example, "unet"), sigma=4.0))
    assert "fitted to a model of the process flow, and this model's is ve" in message


def test_a_start_of_no_process_is_refused(comfy: Client, example: dict, starts: Path):
    prior = make_start(starts, DIGIT_SHAPE)
    prior.about = {}
    prior.save(starts / "a start.safetensors")
    assert "start: expected one that says which process" in refusal(comfy, started(example))


def test_a_start_of_another_model_is_refused(comfy: Client, example: dict, starts: Path):
    make_start(starts, DIGIT_SHAPE, model_digest="0123456789abcdef")
    message = refusal(comfy, started(example))
    assert "fitted to another model (digest 0123456789abcdef)" in message


WARNING = "with another prompt or cfg than is sampled with"


def test_another_prompt_is_warned_of_once_a_run(comfy: Client, server: ComfyServer, example: dict, starts: Path):
    succeeded(comfy.run(with_inputs(fitting(example, evaluations=20), digits=DIGITS)))
    for digits, cfg, times in ((DIGITS, 1.0, 0), ("9876543210", 1.0, 1), (DIGITS, 2.0, 1)):
        before = server.log_text()
        succeeded(comfy.run(with_inputs(started(example), digits=digits, cfg=cfg)))
        assert server.log_text().removeprefix(before).count(WARNING) == times, (digits, cfg)


def test_a_mixture_is_conditioned_behind_a_mask(comfy: Client, server: ComfyServer, example: dict, starts: Path):
    starts.mkdir(parents=True)
    pictures = torch.randn(60, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))
    mixture = lgs.starts.MixturePrior.fit(pictures, 2, 3, rounds=1, about={"process": "ve"})
    mixture.save(starts / "a start.safetensors")
    graph = with_node(tiny(example, "unet"), "50", "LGSTestOnes", channels=4)
    succeeded(comfy.run(recorded(started(masked(graph, ["50", 0]), sigma=2.0))))
    got, noise = given(server), host_noise(9, 2, 4, 8, 8)
    laws = mixture.given(got["latent"], got["mask"])
    expected = torch.cat([law.begin(noise[i : i + 1], 2.0) for i, law in enumerate(laws)])
    torch.testing.assert_close(got["x"][..., 4:], expected[..., 4:], rtol=1e-3, atol=1e-3)


def test_the_bundled_start(comfy: Client, example: dict):
    """Of the digit model, for ten digits: in five evaluations it draws them, at the level that it says."""
    graph = started(with_node(example, SAMPLER, "KSamplerSelect", sampler_name="dpmpp_2m"), sigma=0.0)
    graph[LOAD]["inputs"]["file"] = "bundled digits"
    run = succeeded(comfy.run(with_inputs(graph, digits=DIGITS, steps=5)))
    assert_read(run.images, DIGITS)
    graph[SAMPLING]["inputs"] |= {"sampler": [SAMPLER, 0], "sigmas": [SIGMAS, 0]}
    plain = succeeded(comfy.run(with_inputs(graph, digits=DIGITS, steps=5)))
    assert (plain.images - run.images).abs().max() > 1, "the start has done something"


def test_the_bundled_start_is_what_its_card_says(comfy: Client, example: dict, pack: Path, starts: Path):
    prior = fitted(comfy, with_inputs(fitting(example, evaluations=560, rank=64), digits=DIGITS, cfg=1.0), starts)
    bundled = lgs.starts.load(pack / "models" / "digits-start.safetensors")
    assert prior.about.keys() == bundled.about.keys()
    assert all(prior.about[name] == bundled.about[name] for name in prior.about if name != "divergence")
    torch.testing.assert_close(prior.mean, bundled.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(prior.variances, bundled.variances, rtol=1e-3, atol=1e-3)


def test_a_model_is_the_same_offloaded_and_another_with_a_lora(server_with_models: ComfyServer, starts: Path):
    client = Client(server_with_models.address)
    graph = {}
    parts = sd15_unet(graph)
    lora = add(graph, "LoraLoaderModelOnly", model=parts.model, lora_name="sd15.ckpt", strength_model=1.0)
    weaker = add(graph, "LoraLoaderModelOnly", model=parts.model, lora_name="sd15.ckpt", strength_model=0.5)
    models = {
        "plain": parts.model,
        "offloaded": add(graph, "LGSTestOffload", model=parts.model),
        "lora": lora,
        "lora offloaded": add(graph, "LGSTestOffload", model=lora),
        "weaker": weaker,
    }
    for name, model in models.items():
        guider = add(graph, "BasicGuider", model=model, conditioning=parts.positive)
        add(graph, "LGSFitStart", guider=guider, name=name, latent_image=parts.latent, evaluations=10, rank=1)
    succeeded(client.run(graph, timeout=300))
    digests = {name: lgs.GaussianPrior.load(starts / f"{name}.safetensors").about["model_digest"] for name in models}
    assert digests["plain"] == digests["offloaded"] != digests["lora"] == digests["lora offloaded"]
    assert len(set(digests.values())) == 3
    # And the same while it is sampled with, when the patches are in the weights.
    for name, model in models.items():
        graph = {}
        parts = sd15_unet(graph)
        model = parts.model
        if name.startswith(("lora", "weaker")):
            strength = 0.5 if name == "weaker" else 1.0
            model = add(graph, "LoraLoaderModelOnly", model=model, lora_name="sd15.ckpt", strength_model=strength)
        if name.endswith("offloaded"):
            model = add(graph, "LGSTestOffload", model=model)
        start = add(graph, "LGSLoadStart", file=f"{name}.safetensors")
        sampler = add(graph, "KSamplerSelect", sampler_name="euler")
        begun = add(graph, "LGSStart", sampler=sampler, sigmas=scheduled(graph, model), start=start, sigma=5.0)
        guider = add(graph, "BasicGuider", model=model, conditioning=parts.positive)
        noise = add(graph, "RandomNoise", noise_seed=1)
        samples = add(
            graph,
            "SamplerCustomAdvanced",
            noise=noise,
            guider=guider,
            sampler=begun,
            sigmas=[begun[0], 1],
            latent_image=parts.latent,
        )
        add(graph, "SaveLatent", samples=samples, filename_prefix="x")
        succeeded(client.run(graph, timeout=300))
        graph[start[0]]["inputs"]["file"] = "plain.safetensors" if name != "plain" else "lora.safetensors"
        if name != "offloaded":
            assert "fitted to another model" in refusal(client, graph)
