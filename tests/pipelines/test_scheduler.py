"""`LGSScheduler` step by step: the latents of `lgs.sample`, whatever a model predicts, and what is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

import lgs
from lgs.diffusers import LGSScheduler
from lgs.diffusers.prediction import posterior_mean as as_read
from own_threads import none_left

from .models import PREDICTIONS, posterior_mean, predicted
from .tiny import STABLE_DIFFUSION

SHAPE = (2, 4, 8, 8)
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "with noise": {"eta": 0.5},
    "lanczos": {"solver": "ancestral", "eta": 0.5},
    "lanczos, central": {"solver": "ancestral", "jvp": "central-difference", "eta": 0.5},
    "lanczos, 2 products": {"solver": "ancestral", "lanczos_steps": 2, "covariance_min_sigma": 0.1, "eta": 1.0},
    "diagonal": {"solver": "ancestral", "covariance": "diagonal", "eta": 1.0},
    "isotropic": {"solver": "ancestral", "covariance": "isotropic", "eta": 1.0},
}


def scheduler(prediction_type: str = "epsilon", steps: int | None = 10, **kwargs: Any) -> LGSScheduler:
    """Of a pipeline's for such a model, with a schedule of some steps."""
    if prediction_type == "flow_prediction":
        config = FlowMatchEulerDiscreteScheduler(shift=3.0).config
    else:
        config = DDIMScheduler(**STABLE_DIFFUSION, prediction_type=prediction_type, clip_sample=False).config
    made = LGSScheduler.from_config(config, **kwargs)
    if steps is not None:
        made.set_timesteps(steps)
    return made


def start(made: LGSScheduler, dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = SHAPE) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return (noise * float(made.init_noise_sigma)).to(dtype)


def taken(made: LGSScheduler, x: Tensor, first: int = 0, generator: Any = None) -> Tensor:
    """The latents that a pipeline makes, from one of the evaluations on."""
    for timestep, sigma in list(zip(made.timesteps, made.sigmas.tolist(), strict=False))[first:]:
        output = predicted(made.config.prediction_type, x, sigma)
        x = made.step(output, timestep, x, generator=generator).prev_sample
    return x


def levels(made: LGSScheduler, first: int = 0) -> list[float]:
    return list(dict.fromkeys(made.sigmas[first:].tolist()))


def sampled(made: LGSScheduler, x: Tensor, options: dict[str, Any], first: int = 0, **kwargs: Any) -> Tensor:
    """The same by `lgs.sample`, at the scheduler's noise levels. Products are taken where there is room for all of a
    step's evaluations: at levels that are there as often as any is."""
    prediction_type, every = made.config.prediction_type, made.sigmas.tolist()
    is_flow, each = prediction_type == "flow_prediction", max(every.count(level) for level in every)
    with_products = [level for level in levels(made, first) if every[first:].count(level) == each > 1]
    ratios = [level / (1 - level) if is_flow else level for level in with_products] or [10000.0]
    ends = {"covariance_min_sigma": min(ratios) * 0.9999, "covariance_max_sigma": min(max(ratios) * 1.0001, 10000.0)}

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = float(sigma[0])
        return as_read(prediction_type, predicted(prediction_type, x, level), x, level)

    given = {"jvp": "finite-difference"} | options | (ends if each > 1 else {})
    full = lgs.Options.recommended(process="flow" if is_flow else "ve", **{"pure_noise": first == 0} | given)
    return lgs.sample(denoise, x, levels(made, first), full, **kwargs)


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 0.9, 1.0, 80.0])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_what_a_model_predicts_is_read_as_it_is_defined(prediction_type: str, sigma: float):
    is_flow = prediction_type == "flow_prediction"
    if is_flow and sigma > 1:
        return
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    came = as_read(prediction_type, predicted(prediction_type, x, sigma), x, sigma)
    torch.testing.assert_close(came, posterior_mean(x, sigma, is_flow), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("name", OPTIONS)
def test_the_latents_are_those_of_lgs_sample(name: str, prediction_type: str, dtype: torch.dtype):
    made = scheduler(prediction_type, options=OPTIONS[name])
    x = start(made, dtype)
    came = taken(made, x, generator=torch.Generator().manual_seed(3))
    drawn = torch.Generator().manual_seed(3)
    noise = lambda *_: torch.randn(SHAPE, generator=drawn, dtype=dtype)  # noqa: E731
    expected = sampled(made, x, OPTIONS[name], noise=noise)
    assert came.dtype == dtype and torch.equal(came, expected)
    none_left()


@pytest.mark.parametrize("name", OPTIONS)
def test_an_evaluation_for_each_timestep(name: str):
    """As many as the steps that are asked for, whichever take products."""
    made = scheduler(steps=20, options=OPTIONS[name])
    assert len(made.timesteps) == made.num_inference_steps == 20 and len(made.sigmas) == 21
    repeated = 20 - (len(levels(made)) - 1)
    assert (repeated > 0) == ("lanczos" in name or name == "diagonal")
    taken(made, start(made))  # in which the sampler has to ask at these very levels


@pytest.mark.parametrize("first", [1, 3, 5, 9])
@pytest.mark.parametrize("name", OPTIONS)
def test_it_begins_anywhere(name: str, first: int):
    """As image to image does; within a step with products, too, whose evaluations are then too few."""
    made = scheduler(options=OPTIONS[name])
    made.set_begin_index(first)
    noise = start(made) / float(made.init_noise_sigma)
    x = made.add_noise(torch.ones_like(noise), noise, made.timesteps[first : first + 1])
    torch.testing.assert_close(x, 1 + noise * made.sigmas[first].double())
    came = taken(made, x, first, torch.Generator().manual_seed(3))
    drawn = torch.Generator().manual_seed(3)
    draw = lambda *_: torch.randn(SHAPE, generator=drawn, dtype=torch.float64)  # noqa: E731
    assert torch.equal(came, sampled(made, x, OPTIONS[name], first, noise=draw))


def test_half_precision_is_for_the_model_alone():
    """The sampler's own numbers are float32, as in diffusers' schedulers; what it gives is of the model's dtype."""
    for dtype in (torch.bfloat16, torch.float16):
        made = scheduler()
        x = start(made, dtype)
        exact = sampled(made, x.double(), {})
        for sigma, timestep in zip(made.sigmas.tolist(), made.timesteps, strict=False):
            output = predicted("epsilon", x.float(), sigma).to(dtype)
            given = made.step(output, timestep, x)
            x = given.prev_sample
            assert x.dtype == given.pred_original_sample.dtype == dtype
        rounding = torch.finfo(dtype).eps
        assert (x.double() - exact).abs().mean() < 4 * rounding


def test_samples_in_float32_beside_a_model_in_half_precision():
    """As pipelines have them that cast the latents back after each step."""
    made = scheduler()
    x = start(made, torch.float32)
    exact = sampled(made, x.double(), {})
    for sigma, timestep in zip(made.sigmas.tolist(), made.timesteps, strict=False):
        output = predicted("epsilon", x, sigma).to(torch.bfloat16)
        x = made.step(output, timestep, x).prev_sample.float()
    assert (x.double() - exact).abs().mean() < 0.02


def test_a_generator_for_each_picture():
    made = scheduler(options={"eta": 1.0})
    x = start(made)
    both = taken(made, x, generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)])
    for item, seed in enumerate((1, 2)):
        alone = scheduler(options={"eta": 1.0})
        came = taken(alone, x[item : item + 1], generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(came, both[item : item + 1])
    made.set_timesteps(10)
    assert not torch.equal(
        taken(made, x, generator=[torch.Generator().manual_seed(seed) for seed in (1, 3)])[1], both[1]
    )


@pytest.mark.parametrize("way", ["another tensor", "in place", "in inference mode"])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_what_is_made_of_the_sample_between_steps_counts(prediction_type: str, way: str):
    """A pipeline that moves the sample by c in x/alpha, for a model that is moved as well, gets what it got, and c."""
    moved, is_flow = 0.75, prediction_type == "flow_prediction"
    with torch.inference_mode(way == "in inference mode"):
        made = scheduler(prediction_type)
        x = start(made)
        expected = taken(made, x) + moved
        made.set_timesteps(10)
        for i, (timestep, sigma) in enumerate(zip(made.timesteps, made.sigmas.tolist(), strict=False)):
            by = moved * (1 - sigma if is_flow else 1.0)
            if i == 4:
                x = x.add_(by) if way != "another tensor" else x + by
            if i < 4:
                output = predicted(prediction_type, x, sigma)
            else:
                # The same model of pictures that are brighter by c.
                x_0 = posterior_mean(x - by, sigma, is_flow) + moved
                noise = (x - (1 - sigma if is_flow else 1.0) * x_0) / sigma
                scale = (1 + sigma**2) ** 0.5
                output = {
                    "epsilon": noise,
                    "sample": x_0,
                    "flow_prediction": noise - x_0,
                    "v_prediction": (noise - sigma * x_0) / scale,
                }[prediction_type]
            x = made.step(output, timestep, x).prev_sample
        torch.testing.assert_close(x, expected, rtol=1e-7, atol=1e-7)


def test_a_schedule_that_ends_above_0():
    """SDXL's base model hands over to its refiner there: the sample is what is predicted at that level."""
    made = scheduler(final_sigmas_type="sigma_min", timestep_spacing="trailing")
    assert made.sigmas[-1] > 0
    came = taken(made, start(made))
    assert (came.abs() - 1).abs().mean() < 0.3
    # The training schedule's smallest level twice: nothing is left to do between them.
    made = scheduler(final_sigmas_type="sigma_min")
    assert made.sigmas[-1] == made.sigmas[-2]
    assert torch.equal(taken(made, start(made)), sampled(made, start(made), {}))
    none_left()


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", OPTIONS)
def test_very_few_steps(name: str, steps: int):
    made = scheduler(steps=steps, options=OPTIONS[name])
    x = start(made)
    came = taken(made, x, generator=torch.Generator().manual_seed(3))
    assert came.isfinite().all()
    if steps == 1:
        assert torch.equal(came, posterior_of(made, x))


def posterior_of(made: LGSScheduler, x: Tensor) -> Tensor:
    sigma = float(made.sigmas[0])
    return as_read("epsilon", predicted("epsilon", x, sigma), x, sigma)


def test_no_steps_at_all():
    made = scheduler(steps=0)
    assert len(made.timesteps) == 0 and len(made.sigmas) == 1
    with pytest.raises(lgs.InvalidArgument, match="timestep: expected one of the schedule's 0, got 999"):
        made.step(torch.zeros(SHAPE), 999, torch.zeros(SHAPE))


def test_levels_of_ones_own():
    made = scheduler(steps=None)
    made.set_timesteps(sigmas=[14.0, 5.0, 1.0, 0.2, 0.0])
    assert made.sigmas.tolist() == pytest.approx([14.0, 5.0, 1.0, 0.2, 0.0]) and made.num_inference_steps == 4
    assert torch.equal(taken(made, start(made)), sampled(made, start(made), {}))
    made.set_timesteps(timesteps=[900, 500, 100])
    assert made.timesteps.tolist() == [900, 500, 100]
    for rising in ([1.0, 5.0, 0.0], [5.0, 5.0, 1.0, 0.0]):
        with pytest.raises(lgs.InvalidArgument, match="sigmas: expected noise levels that fall"):
            made.set_timesteps(sigmas=rising)
    with pytest.raises(lgs.InvalidArgument, match="expected noise levels that end in a fall"):
        made.set_timesteps(sigmas=[5.0, 1.0, 2.0])


def test_noise_alone_is_known_from_pictures_with_noise():
    """The options' pure_noise: where the mean of data is put in, and where it is there."""

    def of_run(made: LGSScheduler, x: Tensor, first: int = 0) -> set[bool]:
        ran = set()
        made.record = lambda progress: ran.add(progress["options"].pure_noise)
        taken(made, x, first)
        return ran

    made = scheduler()
    x = start(made)
    assert of_run(made, x) == {True}
    made.set_timesteps(10)
    assert of_run(made, made.add_noise(torch.ones_like(x), x, made.timesteps[:1])) == {False}
    made.set_timesteps(10)
    made.set_begin_index(2)
    assert of_run(made, x, 2) == {False}, "latents of the pipeline's user, on their way"
    assert of_run(scheduler(options={"pure_noise": False}), x) == {False}


def test_a_record_is_kept_of_a_run():
    made = scheduler(options=OPTIONS["lanczos"])
    made.record = record = lgs.Record()
    taken(made, start(made), generator=torch.Generator().manual_seed(3))
    assert sum(step.model_evaluations for step in record.steps) == 10 and record.options.solver == "ancestral"
    assert [step.sigma for step in record.steps] == pytest.approx(levels(made)[:-1])
    assert sum(step.jvps for step in record.steps) == 10 - len(record.steps) > 0


# Out of order, and wrong.


def test_two_pictures_in_a_row_and_another_number_of_steps():
    made = scheduler()
    x = start(made)
    first = taken(made, x)
    made.set_timesteps(10)
    assert torch.equal(taken(made, x), first)
    made.set_timesteps(6)
    assert torch.equal(taken(made, x), taken(scheduler(steps=6), x))


def test_anew_in_the_middle():
    made = scheduler()
    x = start(made)
    made.step(predicted("epsilon", x, float(made.sigmas[0])), made.timesteps[0], x)
    made.set_timesteps(10)
    assert torch.equal(taken(made, x), taken(scheduler(), x))
    none_left()


@pytest.mark.parametrize("wrong", [3, 998, torch.tensor(5.0), torch.tensor(0)])
def test_a_wrong_timestep_is_refused_and_the_right_one_goes_on(wrong: Any):
    made, x = scheduler(), start(scheduler())
    output = predicted("epsilon", x, float(made.sigmas[0]))
    with pytest.raises(lgs.InvalidArgument, match="timestep: expected one of the schedule's 10, got"):
        made.scale_model_input(x, 12.5)
    x = made.step(output, made.timesteps[0], x).prev_sample
    output = predicted("epsilon", x, float(made.sigmas[1]))
    for call in (lambda: made.step(output, wrong, x), lambda: made.scale_model_input(x, wrong)):
        with pytest.raises(lgs.InvalidArgument, match="timestep: expected 888, number 2 of 10, got .* set_timesteps"):
            call()
    assert torch.equal(taken(made, x, 1), taken(scheduler(), start(made)))
    with pytest.raises(lgs.InvalidArgument, match="expected no further one after the 10 of the schedule"):
        made.step(output, made.timesteps[-1], x)
    with pytest.raises(lgs.InvalidArgument, match="expected one of the schedule's, got 2 of them"):
        made.scale_model_input(x, made.timesteps[:2])


def test_without_a_schedule():
    made = scheduler(steps=None)
    with pytest.raises(lgs.InvalidArgument, match="step: expected a schedule of some steps. Call set_timesteps first"):
        made.step(torch.zeros(SHAPE), made.timesteps[0], torch.zeros(SHAPE))


@pytest.mark.parametrize("at", [0, 4])
def test_what_a_model_gives_that_is_no_answer_is_refused_and_the_step_can_be_taken_again(at: int):
    made = scheduler()
    x = start(made)
    for i, (timestep, sigma) in enumerate(zip(made.timesteps, made.sigmas.tolist(), strict=False)):
        output = predicted("epsilon", x, sigma)
        if i == at:
            with pytest.raises(lgs.ModelOutputError, match="NaN or infinity"):
                made.step(torch.full_like(output, torch.nan), timestep, x)
            with pytest.raises(lgs.InvalidArgument, match=r"model_output: expected the sample's shape .* its variance"):
                made.step(torch.cat([output, output], 1), timestep, x)
        x = made.step(output, timestep, x).prev_sample
    assert (x.abs() - 1).abs().mean() < 0.2
    none_left()


def test_a_sample_of_another_shape_in_the_middle_is_refused():
    made = scheduler()
    x = start(made)
    x = made.step(predicted("epsilon", x, float(made.sigmas[0])), made.timesteps[0], x).prev_sample
    with pytest.raises(lgs.InvalidArgument, match=r"x: expected shape \(2, 4, 8, 8\) on cpu"):
        made.step(x[:1], made.timesteps[1], x[:1])
    none_left()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_of_one_under_way_begins_anew_where_that_is(copied: Any):
    made = scheduler()
    expected = taken(scheduler(), start(made))
    x = start(made)
    for i in range(4):
        x = made.step(predicted("epsilon", x, float(made.sigmas[i])), made.timesteps[i], x).prev_sample
    other = copied(made)
    assert other.step_index == 4 and other.config == made.config
    begun = taken(other, x.clone(), 4)
    assert (begun - expected).abs().mean() < 0.05
    assert torch.equal(taken(made, x, 4), expected), "the one that was copied has gone on"
    none_left()


def test_abandoned_ones_leave_nothing():
    for _ in range(100):
        made = scheduler(options={"eta": 1.0})
        made.step(start(made) * 0, made.timesteps[0], start(made))
    del made
    none_left()


def test_it_is_saved_under_way_without_a_change(tmp_path):
    made = scheduler(options={"eta": 0.25})
    expected = taken(scheduler(options={"eta": 0.25}), start(made), generator=torch.Generator().manual_seed(1))
    x, generator = start(made), torch.Generator().manual_seed(1)
    for i, (timestep, sigma) in enumerate(zip(made.timesteps, made.sigmas.tolist(), strict=False)):
        if i == 5:
            made.save_pretrained(tmp_path)
        x = made.step(predicted("epsilon", x, sigma), timestep, x, generator).prev_sample
    assert torch.equal(x, expected)
    assert LGSScheduler.from_pretrained(tmp_path).config.options == {"eta": 0.25}


@pytest.mark.parametrize(("options", "warns"), [("lanczos", True), ("lanczos, central", False), ("defaults", False)])
def test_rough_products_in_half_precision_are_told(options: str, warns: bool, caplog):
    made = scheduler(options=OPTIONS[options])
    x = start(made, torch.bfloat16)
    for sigma, timestep in list(zip(made.sigmas.tolist(), made.timesteps, strict=False))[:2]:
        x = made.step(predicted("epsilon", x.float(), sigma).to(torch.bfloat16), timestep, x).prev_sample
    told = [record.getMessage() for record in caplog.records if record.name == "lgs" and record.levelname == "WARNING"]
    words = "LGSScheduler: the model computes in bfloat16, in which products by one-sided differences are rough."
    assert [message.startswith(words) for message in told] == [True] * warns
