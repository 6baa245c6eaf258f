"""A run as its user sees it: progress, previews, the picture, and the button that cancels it."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from .client import Client, Run
from .graphs import SIZE, text_to_image
from .server import InvokeServer


def test_each_step_moves_the_bar_and_shows_a_preview(invoke: Client, models: dict):
    run = invoke.run(text_to_image(models["tiny-sd15"], steps=5).as_json())
    assert run.status == "completed", run.error
    done = [percentage for percentage in run.of("denoise") if percentage is not None]
    assert done == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1]), (
        "InvokeAI says itself when the node has begun and ended"
    )
    previews = run.previews("denoise")
    assert len(previews) == len(done)
    assert all(preview.size == (SIZE // 8, SIZE // 8) for preview in previews)
    assert len({preview.tobytes() for preview in previews}) > 3


def test_each_evaluation_moves_the_bar_in_a_mode_with_products(invoke: Client, models: dict):
    inputs = {"covariance": "lanczos", "lanczos_steps": 3, "jvp": "finite-difference"}
    run = invoke.run(text_to_image(models["tiny-sd15"], steps=2, covariance_max_sigma=10000, **inputs).as_json())
    assert run.status == "completed", run.error
    # The last step, to 0, has no products.
    done = [percentage for percentage in run.of("denoise") if percentage is not None]
    assert done == pytest.approx([0, 0.125, 0.25, 0.375, 0.5, 0.625, 1, 1])


def test_the_picture(invoke: Client, models: dict):
    run = invoke.run(text_to_image(models["tiny-sd15"]).as_json())
    name = run.outputs["picture"]["image"]["image_name"]
    picture = Image.open(io.BytesIO(invoke.get(f"/api/v1/images/i/{name}/full")))
    assert picture.size == (SIZE, SIZE) and len(picture.convert("RGB").getcolors(SIZE**2)) > 100


def test_a_seed_gives_its_picture_again(invoke: Client, server: InvokeServer, models: dict):
    def latents(seed: int) -> bytes:
        run = invoke.run(text_to_image(models["tiny-sd15"], seed=seed, eta=0.5).as_json())
        return server.tensor(run.outputs["denoise"]["latents"]["latents_name"]).numpy().tobytes()

    assert latents(1) == latents(1) != latents(2)


@pytest.mark.parametrize(
    "inputs", [{"steps": 1000}, {"steps": 30, "covariance": "lanczos", "lanczos_steps": 64}], ids=["secant", "lanczos"]
)
def test_cancel_in_the_middle(invoke: Client, models: dict, inputs: dict):
    seen = []

    def cancel(run: Run) -> None:
        done = [percentage for percentage in run.of("denoise") if percentage]
        if done and not seen:
            seen.append(done[-1])
            invoke.cancel(run)

    run = invoke.run(text_to_image(models["tiny-sd15"], **inputs).as_json(), on_progress=cancel)
    assert run.status == "canceled" and "denoise" not in run.outputs
    assert seen[0] <= max(run.of("denoise")[2:]) < 0.5, "it stopped long before the end"
    again = invoke.run(text_to_image(models["tiny-sd15"]).as_json())
    assert again.status == "completed", "everything is usable afterwards"
