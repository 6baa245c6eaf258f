import json
import signal
import subprocess
import sys

import interruptible
import numpy as np
import pytest
import torch
from PIL import Image

import lgs
from evidence.demo import command, job, pictures, table
from evidence.models import DIGITS
from evidence.models.distance import Distances
from lgs.digits import UNLABELLED, load_unet

THREE_STEPS = job.samplers(steps=3, eta=1.0)


def run(samplers=THREE_STEPS[:2], per_digit=1, seed=0):
    return job.run(load_unet(DIGITS), samplers, per_digit=per_digit, jvp="finite-difference", seed=seed)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small demo, end to end: the folder that it wrote."""
    out = tmp_path_factory.mktemp("demo")
    command.main(["--out", str(out), "--per-digit", "2", "--steps", "3"])
    return out


def test_every_file_is_written(demo):
    grids = {f"{sampler.id}.png" for sampler in THREE_STEPS}

    assert {file.name for file in demo.iterdir()} == grids | {"overview.png", "demo.json"}
    for file in demo.glob("*.png"):
        with Image.open(file) as picture:
            picture.verify()
            assert min(picture.size) > 600


def test_json_tells_what_was_done_and_what_it_cost(demo):
    written = json.loads((demo / "demo.json").read_text(encoding="utf-8"))

    assert written["settings"] == {
        "per_digit": 2,
        "steps": 3,
        "eta": 1.0,
        "seed": 0,
        "jvp": "finite-difference",
    }
    assert written["versions"]["lgs"]["problem"] is None
    assert written["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(written["pictures"]) == {file.name for file in demo.glob("*.png")}
    for row, sampler in zip(written["samplers"], THREE_STEPS, strict=True):
        assert row["id"] == sampler.id
        assert row["images"] == row["distances"]["images"] == 20
        assert row["distances"]["reference"] == written["real"]["distances"]["reference"] == 4980
        assert row["model_evaluations"] == sampler.evaluations
        assert row["jvps"] == sampler.jvps
        assert row["seconds"] > 0


def test_samplers_cost_what_they_stand_for():
    by_id = {sampler.id: sampler for sampler in job.samplers(steps=10, eta=1.0)}

    costs = {
        "isotropic": 10,
        "lgs-shipped": 10,
        "dpmpp-2m": 10,
        "uni-pc": 10,
        "lgs-in-part": 15,
        "lgs-k1": 19,
        "lgs-k2": 28,
        "lgs-k3": 37,
        "ddim": 10,
        "any-isotropic": 10,
        "any-lgs-shipped": 10,
        "any-lgs-k2": 28,
    }
    assert {name: by_id[name].evaluations for name in costs} == costs
    assert by_id["isotropic-more-steps"].evaluations == by_id["lgs-k2"].evaluations
    assert by_id["ddim"].eta == "0" and by_id["dpmpp-2m"].eta == ""
    assert set(command.OVERVIEW) <= set(by_id)


def test_the_node_s_defaults_are_lgs_s_recommended_options():
    shipped = [sampler.options for sampler in THREE_STEPS if sampler.name == "LGS, node defaults"]

    assert shipped == [lgs.Options.recommended(pure_noise=True).as_dict()] * 2


def test_any_digit_is_what_the_model_is_asked_for():
    labels = torch.arange(10)

    told, untold = (next(s for s in THREE_STEPS if s.id == name) for name in ("isotropic", "any-isotropic"))
    assert told.asked(labels).equal(labels)
    assert untold.asked(labels).eq(UNLABELLED).all()


def test_same_seed_same_digits_another_seed_others():
    first, again, other = run(seed=1), run(seed=1), run(seed=2)

    assert first[0].images.shape == (10, 1, 32, 32)
    assert first[0].images.equal(again[0].images) and first[1].images.equal(again[1].images)
    assert not first[0].images.equal(other[0].images)


def test_samplers_get_the_same_initial_noise_and_the_same_noise_in_each_step(monkeypatch):
    given = []

    def sample(denoise, x, sigmas, options, *, noise, callback):
        given.append((x, noise(sigmas[0], sigmas[1]), noise(sigmas[1], sigmas[2])))
        callback({"model_evaluations": 0, "jvps": 0, "sigma": 1.0, "sigma_next": 0.0})
        return x

    monkeypatch.setattr(job.lgs, "sample", sample)
    run(THREE_STEPS[:3])

    first, *others = given
    assert not first[1].equal(first[2])
    for other in others:
        assert all(tensor.equal(same) for tensor, same in zip(first, other, strict=True))


def test_karras_sigmas_fall_from_20_to_003_and_then_0():
    sigmas = job.karras_sigmas(10)

    assert len(sigmas) == 11 and (sigmas.diff() < 0).all()
    assert sigmas[[0, -2, -1]].tolist() == pytest.approx([20.0, 0.03, 0.0])


def test_pixels_are_enlarged_by_repetition(tmp_path):
    images = torch.linspace(-1, 1, 10 * 32 * 32).view(10, 1, 32, 32)
    file = tmp_path / "grid.png"

    pictures.save_grid(file, pictures.Block("Name", ["note"], images), "0123456789", "footnote")

    with Image.open(file) as picture:
        page = np.asarray(picture.convert("L"))
    seven = ((images[7, 0] + 1) * 127.5).round().byte().numpy().repeat(2, axis=0).repeat(2, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(page, seven.shape)
    assert any((windows[y, x] == seven).all() for y, x in np.argwhere(windows[..., 0, 0] == seven[0, 0]))


def test_table_has_a_row_for_each_sampler_and_says_what_it_rests_on():
    results = [job.Result(sampler, torch.zeros(20, 1, 32, 32), sampler.evaluations, 0, 1.5) for sampler in THREE_STEPS]
    distances = Distances(frechet=12.345, kernel=0.01, as_requested=0.95, variety=0.876, images=20, reference=4980)

    lines = table.text(results, [distances] * len(results), distances).splitlines()

    assert len({len(line) for line in lines[: 3 + len(results)]}) == 1
    assert lines[2].split()[-4:] == ["12.345", "0.0100", "95.0%", "0.88"]
    assert "20 digits to 4,980 held-out real ones" in "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "1"], "--steps: expected a whole number from 2 to 1000, got '1'"),
        (["--per-digit", "x"], "--per-digit: expected a whole number from 1 to 1000, got 'x'"),
        (["--eta", "1.5"], "--eta: expected a number from 0 to 1, got '1.5'"),
        (["--jvp", "backward"], "--jvp: invalid choice: 'backward'"),
        (["--out", __file__], "--out: expected a folder that can be written to"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_ends_with_a_sentence(tmp_path):
    folder = command.__file__.rsplit("evidence", 1)[0]
    process = interruptible.start(
        [sys.executable, "-u", "-m", "evidence.demo", "--out", str(tmp_path), "--per-digit", "1000"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        seen = ""
        while "evaluations" not in seen and (more := process.stderr.read(1)):
            seen += more
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 130
    assert "Stopped before the end." in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())
