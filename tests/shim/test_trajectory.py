"""`lgs.Trajectory`, driven by its caller, against `lgs.sample`, which calls the model itself."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from torch import Tensor

import lgs
from own_threads import none_left

from .gaussian import Gaussian, alpha_of, relative_error

SIGMAS = {"ve": [10.0, 5.0, 2.5, 1.0, 0.4, 0.1, 0.0], "flow": [1.0, 0.9, 0.7, 0.4, 0.1, 0.0]}
OPTIONS = {
    "secant": {"solver": "secant"},
    "secant with noise": {"solver": "secant", "eta": 0.5},
    "lanczos": {"lanczos_steps": 2, "jvp": "finite-difference"},
    "lanczos, central, in part": {
        "lanczos_steps": 1,
        "jvp": "central-difference",
        "covariance_min_sigma": 0.5,
        "other_steps": "multistep",
    },
    "diagonal": {"covariance": "diagonal", "jvp": "finite-difference"},
    "isotropic": {"covariance": "isotropic"},
}


def two_heaps(process: str):
    """Two Gaussians of variance 0.04 at -1 and 1 in each number of an item; not linear, as a Gaussian's D would be."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.double().view(-1, *[1] * (x.ndim - 1))
        alpha = (1 - level).clamp_min(0.005) if process == "flow" else torch.ones_like(level)
        variance = 0.04 + (level / alpha) ** 2
        scaled = x.double() / alpha
        centre = (scaled / variance).tanh()
        return (centre + (scaled - centre) * (0.04 / variance)).to(x.dtype)

    return denoise


def start(process: str, dtype: torch.dtype, seed: int = 0) -> Tensor:
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (noise * SIGMAS[process][0]).to(dtype)


def driven(denoise, x: Tensor, sigmas: list[float], options: dict, **callbacks) -> Tensor:
    with lgs.Trajectory(x, sigmas, options, **callbacks) as trajectory:
        while not trajectory.done:
            trajectory.advance(denoise(trajectory.x, trajectory.sigma))
    return trajectory.result


def usable(count: int = 3) -> None:
    """No thread of ours is left, and trajectories work."""
    none_left()
    denoise, x = two_heaps("ve"), start("ve", torch.float32)
    came = driven(denoise, x, SIGMAS["ve"][-count:], OPTIONS["secant"])
    assert torch.equal(came, lgs.sample(denoise, x, SIGMAS["ve"][-count:], OPTIONS["secant"]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("process", SIGMAS)
@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_lgs_sample_to_the_last_bit(name: str, process: str, dtype: torch.dtype):
    options, x = OPTIONS[name] | {"process": process}, start(process, dtype)
    for sigmas in (SIGMAS[process], SIGMAS[process][:-1]):
        torch.manual_seed(1)
        expected = lgs.sample(two_heaps(process), x, sigmas, options)
        torch.manual_seed(1)
        came = driven(two_heaps(process), x, sigmas, options)
        assert came.dtype == dtype and torch.equal(came, expected)


@pytest.mark.parametrize("name", OPTIONS)
def test_noise_and_reports_are_those_of_lgs_sample_and_of_the_thread_that_drives(name: str):
    def run(how):
        noises, seen, threads = [], [], set()

        def noise(sigma, sigma_next):
            threads.add(threading.get_ident())
            noises.append((float(sigma), float(sigma_next)))
            return torch.full((2, 3, 8, 8), float(len(noises)))

        def callback(progress):
            threads.add(threading.get_ident())
            seen.append({key: value.clone() if isinstance(value, Tensor) else value for key, value in progress.items()})

        x = start("ve", torch.float32)
        result = how(two_heaps("ve"), x, SIGMAS["ve"], OPTIONS[name], noise=noise, callback=callback)
        assert threads == {threading.get_ident()}
        return result, noises, seen

    result, noises, seen = run(driven)
    expected, expected_noises, expected_seen = run(lgs.sample)
    assert torch.equal(result, expected) and noises == expected_noises and len(seen) == len(expected_seen) == 6
    for step, other in zip(seen, expected_seen, strict=True):
        assert step.keys() == other.keys()
        for key, value in step.items():
            if isinstance(value, Tensor):
                torch.testing.assert_close(value, other[key], rtol=0, atol=0, equal_nan=True)
            else:
                assert value == other[key] or value != value, key


def test_the_learned_diagonal_is_asked_too():
    def diagonal(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.full_like(x, 0.5)

    x, options = start("ve", torch.float32), {"covariance": "diagonal-learned"}
    torch.manual_seed(1)
    expected = lgs.sample(two_heaps("ve"), x, SIGMAS["ve"], options, diagonal=diagonal)
    torch.manual_seed(1)
    assert torch.equal(driven(two_heaps("ve"), x, SIGMAS["ve"], options, diagonal=diagonal), expected)


def test_a_dtype_of_its_own_is_rounded_to_for_the_model_alone():
    """In float64 inside, as told by a model that is asked in bfloat16 and does not look."""
    x, asked = start("ve", torch.float64), []
    with lgs.Trajectory(x, SIGMAS["ve"], OPTIONS["secant"], dtype=torch.bfloat16) as trajectory:
        while not trajectory.done:
            asked.append(trajectory.x.dtype)
            trajectory.advance(torch.ones_like(x) / 3)
    assert asked == [torch.bfloat16] * 6
    assert torch.equal(trajectory.result, (torch.ones_like(x) / 3).to(torch.bfloat16))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("process", SIGMAS)
@pytest.mark.parametrize("in_place", [True, False])
def test_where_x_is_moved_to_the_rest_moves_along(name: str, process: str, in_place: bool):
    """Translation: x/alpha + c all the way with D(x) + c gives the result + c, however c came about."""
    options = OPTIONS[name] | {"process": process, "covariance_max_sigma": 100.0}
    denoise, x = two_heaps(process), start(process, torch.float64)
    noise = {"noise": lambda *_: torch.ones_like(x)}
    expected = lgs.sample(denoise, x, SIGMAS[process], options, **noise)
    moves = {1: 0.5, 3: -0.25}
    asked, moved = 0, 0.0
    with lgs.Trajectory(x, SIGMAS[process], options, **noise) as trajectory:
        while not trajectory.done:
            at, alpha = trajectory.x, alpha_of(process, float(trajectory.sigma[0]))
            by = moves.get(asked, 0.0)
            moved += by
            if in_place:
                at += alpha * by
                trajectory.advance(denoise(at - alpha * moved, trajectory.sigma) + moved)
            else:
                at = at + alpha * by
                trajectory.advance(denoise(at - alpha * moved, trajectory.sigma) + moved, at)
            asked += 1
    # A finite difference of 1e-5 shows what is rounded at all.
    assert moved == 0.25 and relative_error(trajectory.result - moved, expected) < 1e-6


def test_in_inference_mode_a_change_in_place_is_seen_without_a_version():
    with torch.inference_mode():
        test_where_x_is_moved_to_the_rest_moves_along("secant", "ve", True)
        test_where_x_is_moved_to_the_rest_moves_along("secant", "flow", False)
        x = start("ve", torch.float32)
        assert torch.equal(
            driven(two_heaps("ve"), x, SIGMAS["ve"], OPTIONS["secant"]),
            lgs.sample(two_heaps("ve"), x, SIGMAS["ve"], OPTIONS["secant"]),
        )


def test_at_a_flows_pure_noise_x_cannot_be_moved():
    with lgs.Trajectory(start("flow", torch.float32), SIGMAS["flow"], {"process": "flow", **OPTIONS["secant"]}) as t:
        with pytest.raises(lgs.InvalidArgument, match="x: expected it unchanged at sigma 1 of a flow"):
            t.advance(t.x, t.x + 1)
        t.advance(t.x, t.x.clone())  # the same, and it goes on
        assert float(t.sigma[0]) == pytest.approx(0.9)


def test_x_is_the_callers_own():
    """What is done to it after the model has answered is nobody's business but the caller's."""
    denoise, x = two_heaps("ve"), start("ve", torch.float32)
    with lgs.Trajectory(x, SIGMAS["ve"], OPTIONS["secant"]) as trajectory:
        while not trajectory.done:
            at = trajectory.x
            trajectory.advance(denoise(at, trajectory.sigma))
            at.zero_()
    assert torch.equal(trajectory.result, lgs.sample(denoise, x, SIGMAS["ve"], OPTIONS["secant"]))


def test_modes_of_the_caller_do_not_change_the_numbers():
    denoise, x = two_heaps("ve"), start("ve", torch.float32)
    expected = lgs.sample(denoise, x, SIGMAS["ve"], OPTIONS["secant"])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(driven(denoise, x, SIGMAS["ve"], OPTIONS["secant"]), expected)
    with torch.set_grad_enabled(True):
        result = driven(
            lambda x, sigma: denoise(x, sigma) + torch.zeros(1, requires_grad=True), x, SIGMAS["ve"], OPTIONS["secant"]
        )
        assert torch.equal(result, expected) and not result.requires_grad
    with torch.inference_mode():
        made_there = lgs.Trajectory(x, SIGMAS["ve"], OPTIONS["secant"])
        first = denoise(made_there.x, made_there.sigma)
    made_there.advance(first)
    while not made_there.done:
        made_there.advance(denoise(made_there.x, made_there.sigma))
    assert torch.equal(made_there.result, expected)


# What is wrong is refused, in words, and nothing is left behind.


@pytest.mark.parametrize("jvp", ["auto", "forward"])
def test_forward_mode_is_refused(jvp: str):
    with pytest.raises(lgs.InvalidArgument, match=f'jvp: expected "finite-difference" or .* got "{jvp}".* lgs.sample'):
        lgs.Trajectory(start("ve", torch.float32), SIGMAS["ve"], {"jvp": jvp})
    driven(two_heaps("ve"), start("ve", torch.float32), SIGMAS["ve"], {"solver": "secant", "jvp": jvp})
    usable()


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"x": [1.0]}, lgs.InvalidType, "x: expected a torch.Tensor, got list"),
        ({"x": torch.zeros(2, 3, dtype=torch.int64)}, lgs.InvalidType, "x: expected a tensor of dtype float16"),
        ({"x": torch.full((2, 3), torch.nan)}, lgs.InvalidArgument, "x: expected finite numbers"),
        ({"sigmas": []}, lgs.InvalidArgument, "sigmas: expected at least two noise levels, got 0"),
        ({"sigmas": [1.0, 2.0]}, lgs.InvalidArgument, "sigmas: expected noise levels that end in a fall"),
        ({"options": {"etta": 1}}, lgs.InvalidType, "etta"),
        ({"dtype": torch.int32}, lgs.InvalidType, "dtype: expected a floating point dtype of torch, got torch.int32"),
        ({"noise": lambda *_: None, "options": {"covariance": "isotropic"}}, lgs.InvalidType, "noise: expected"),
    ],
)
def test_wrong_arguments_are_those_of_lgs_sample(changed: dict, kind: type, words: str):
    given = {"x": start("ve", torch.float32), "sigmas": SIGMAS["ve"], "options": OPTIONS["secant"]} | changed
    with pytest.raises(kind) as caught:
        lgs.Trajectory(given.pop("x"), given.pop("sigmas"), given.pop("options"), **given)
    assert words in str(caught.value)
    usable()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (None, lgs.InvalidType, "denoise: expected it to return a torch.Tensor, got NoneType"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), lgs.ModelOutputError, "dtype"),
        (
            torch.zeros(1, 3, 8, 8),
            lgs.ModelOutputError,
            "expected shape [2, 3, 8, 8], that of x, got shape [1, 3, 8, 8]",
        ),
        (torch.full((2, 3, 8, 8), torch.nan), lgs.ModelOutputError, "holds NaN or infinity"),
    ],
)
@pytest.mark.parametrize("moved", [False, True])
def test_wrong_answers_are_those_of_lgs_sample_and_end_it(answer, kind: type, words: str, moved: bool):
    trajectory = lgs.Trajectory(start("ve", torch.float32), SIGMAS["ve"], OPTIONS["secant"])
    with pytest.raises(kind) as caught:
        for _ in range(2):
            trajectory.advance(answer, trajectory.x + 1 if moved else None)
    assert words in str(caught.value)
    with pytest.raises(lgs.InvalidArgument, match="expected one that is under way, got one that is closed"):
        trajectory.advance(trajectory.x)
    usable()


def test_x_of_another_shape_is_refused_and_it_goes_on():
    denoise, x = two_heaps("ve"), start("ve", torch.float32)
    with lgs.Trajectory(x, SIGMAS["ve"], OPTIONS["secant"]) as trajectory:
        while not trajectory.done:
            with pytest.raises(
                lgs.InvalidArgument, match=r"x: expected shape \(2, 3, 8, 8\) on cpu, .* \(1, 3, 8, 8\)"
            ):
                trajectory.advance(trajectory.x, trajectory.x[:1])
            trajectory.advance(denoise(trajectory.x, trajectory.sigma))
    assert torch.equal(trajectory.result, lgs.sample(denoise, x, SIGMAS["ve"], OPTIONS["secant"]))


def test_before_and_after_its_time():
    denoise = two_heaps("ve")
    trajectory = lgs.Trajectory(start("ve", torch.float32), [1.0, 0.0], OPTIONS["secant"])
    with pytest.raises(lgs.InvalidArgument, match="result: expected a trajectory that is done"):
        trajectory.result  # noqa: B018
    trajectory.advance(denoise(trajectory.x, trajectory.sigma))
    assert trajectory.done
    for ask in (lambda: trajectory.x, lambda: trajectory.sigma, lambda: trajectory.advance(trajectory.result)):
        with pytest.raises(lgs.InvalidArgument, match="got one that is done: see its result"):
            ask()
    trajectory.close()
    trajectory.close()
    assert trajectory.result.shape == (2, 3, 8, 8)
    usable()


def test_trajectories_side_by_side_and_one_inside_another():
    denoise, x = two_heaps("ve"), start("ve", torch.float32)
    expected = lgs.sample(denoise, x, SIGMAS["ve"], OPTIONS["secant"])

    def inside(_):
        assert torch.equal(driven(denoise, x, SIGMAS["ve"], OPTIONS["secant"]), expected)

    many = [lgs.Trajectory(x, SIGMAS["ve"], OPTIONS["secant"], callback=inside) for _ in range(3)]
    while not many[0].done:
        for one in many:
            one.advance(denoise(one.x, one.sigma))
    assert all(torch.equal(one.result, expected) for one in many)


def test_it_can_be_handed_to_another_thread():
    denoise, x = two_heaps("ve"), start("ve", torch.float32)
    trajectory = lgs.Trajectory(x, SIGMAS["ve"], OPTIONS["secant"])

    def drive():
        while not trajectory.done:
            trajectory.advance(denoise(trajectory.x, trajectory.sigma))

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert torch.equal(trajectory.result, lgs.sample(denoise, x, SIGMAS["ve"], OPTIONS["secant"]))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_is_not_copied(copied):
    trajectory = lgs.Trajectory(start("ve", torch.float32), SIGMAS["ve"], OPTIONS["secant"])
    with pytest.raises(lgs.InvalidType, match="cannot be copied or pickled"):
        copied(trajectory)
    trajectory.close()


def test_gaussian_data_come_out_right():
    """Not against ourselves: the secant's end on Gaussian data, from many short steps."""
    gaussian = Gaussian(16, 1.0)
    sigmas = torch.linspace(0, 1, 60, dtype=torch.float64).mul(-6).exp().mul(5.0).tolist()
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 5
    came = driven(gaussian.denoiser(), x, sigmas, OPTIONS["secant"])
    exact = gaussian.apply(lambda lam: ((lam + sigmas[-1] ** 2) / (lam + sigmas[0] ** 2)).sqrt(), x)
    assert relative_error(came, exact) < 2e-3
