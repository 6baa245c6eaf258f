"""The example workflows as they are declared: graphs in API format, with a note for the editor."""

from __future__ import annotations

import copy

CHECKPOINT, POSITIVE, NEGATIVE, EMPTY, NOISE, GUIDER, LGS, SIGMAS, SAMPLING, DECODE, SAVE = map(str, range(1, 12))
LOAD, ENCODE, MASK = "12", "13", "14"
REPORT, TEXT, COVARIANCE, DEVIATION, COMPONENTS, DRAWN = map(str, range(15, 21))
FIT, START, STARTED = "30", "31", "32"
OURS = ("LGSSampler", "LGSCovariance", "LGSFitStart", "LGSLoadStart", "LGSStart")
"""Of our nodes, those with inputs that may be left out."""

HOW = (
    "Choose a checkpoint of your own in Load Checkpoint: any Stable Diffusion 1.5 model. "
    "Other models work as well, with their own loader, latent and cfg.\n\n"
)
ADVICE = (
    "LGS Sampler starts in its mode *secant*: one evaluation of the model a step, as the fastest samplers have. Take 8 "
    "to 15 steps. In the mode *lanczos* each Lanczos step costs one more in each step above *covariance from sigma*."
)


def txt2img() -> dict:
    """SD 1.5 from noise."""
    return {
        CHECKPOINT: _node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors"),
        POSITIVE: _node(
            "CLIPTextEncode", clip=[CHECKPOINT, 1], text="a lighthouse on a cliff, evening light, photograph"
        ),
        NEGATIVE: _node("CLIPTextEncode", clip=[CHECKPOINT, 1], text="text, watermark"),
        EMPTY: _node("EmptyLatentImage", width=512, height=512, batch_size=1),
        NOISE: _node("RandomNoise", noise_seed=1),
        GUIDER: _node("CFGGuider", model=[CHECKPOINT, 0], positive=[POSITIVE, 0], negative=[NEGATIVE, 0], cfg=5.0),
        LGS: _node("LGSSampler"),
        SIGMAS: _node("BasicScheduler", model=[CHECKPOINT, 0], scheduler="karras", steps=12, denoise=1.0),
        **_sampled(LGS, SAMPLING, DECODE),
        SAVE: _node("SaveImage", images=[DECODE, 0], filename_prefix="lgs_txt2img"),
    }


def img2img() -> dict:
    """The same from an image, in the later part of the noise levels."""
    graph = txt2img()
    del graph[EMPTY]
    graph[LOAD] = _node("LoadImage", image="example.png")
    graph[ENCODE] = _node("VAEEncode", pixels=[LOAD, 0], vae=[CHECKPOINT, 2])
    graph[SIGMAS]["inputs"]["denoise"] = 0.6
    graph[SAMPLING]["inputs"]["latent_image"] = [ENCODE, 0]
    graph[SAVE]["inputs"]["filename_prefix"] = "lgs_img2img"
    return graph


def inpaint() -> dict:
    """The same where the image's mask is."""
    graph = img2img()
    graph[MASK] = _node("SetLatentNoiseMask", samples=[ENCODE, 0], mask=[LOAD, 1])
    graph[SIGMAS]["inputs"]["denoise"] = 1.0
    graph[SAMPLING]["inputs"]["latent_image"] = [MASK, 0]
    graph[SAVE]["inputs"]["filename_prefix"] = "lgs_inpaint"
    return graph


def compare_samplers() -> dict:
    """Three samplers on the same noise, guider and noise levels: each under its name, and all in one picture.

    Not uni_pc: ComfyUI 0.29.0's writes .001 over the last of the noise levels that it is given, so that on a CPU every
    sampler after it that shares them ends there.
    """
    graph = txt2img()
    graph["20"] = _node("KSamplerSelect", sampler_name="dpmpp_2m")
    graph["21"] = _node("KSamplerSelect", sampler_name="dpmpp_2m_sde")
    graph |= _sampled("20", "22", "23") | _sampled("21", "24", "25")
    graph["26"] = _stitched("23", "25")
    graph["27"] = _stitched("26", DECODE)
    graph[SAVE] = _node("SaveImage", images=["27", 0], filename_prefix="lgs_compare_samplers")
    steps = graph[SIGMAS]["inputs"]["steps"]
    for number, name, decoded in (
        ("33", "dpmpp_2m", "23"),
        ("34", "dpmpp_2m_sde", "25"),
        ("35", "LGS Sampler", DECODE),
    ):
        graph[number] = _node("PreviewImage", images=[decoded, 0])
        graph[number]["_meta"] = {"title": f"{name}, {steps} evaluations"}
    return graph


def report() -> dict:
    """What a run was like, as diagrams and in words."""
    graph = txt2img()
    graph[REPORT] = _node("LGSReport", sampler=[LGS, 0], latent=[SAMPLING, 0])
    graph[TEXT] = _node("PreviewAny", source=[REPORT, 1])
    graph[SAVE]["inputs"]["filename_prefix"] = "lgs_report"
    return graph


def covariance() -> dict:
    """What a model leaves open in a picture at a noise level."""
    graph = {node: entry for node, entry in img2img().items() if node not in (LGS, SIGMAS, SAMPLING, DECODE, SAVE)}
    graph[COVARIANCE] = _node(
        "LGSCovariance", guider=[GUIDER, 0], noise=[NOISE, 0], latent_image=[ENCODE, 0], vae=[CHECKPOINT, 2], sigma=1.0
    )
    for number, output in ((DEVIATION, 0), (COMPONENTS, 1), (DRAWN, 3)):
        graph[number] = _node("PreviewImage", images=[COVARIANCE, output])
    graph[TEXT] = _node("PreviewAny", source=[COVARIANCE, 4])
    return graph


def digits(digits: str, steps: int) -> dict:
    """The bundled model with all that sampling it takes but a sampler."""
    return {
        CHECKPOINT: _node("LGSDemoModel", digits=digits),
        NOISE: _node("RandomNoise", noise_seed=3),
        GUIDER: _node("CFGGuider", model=[CHECKPOINT, 0], positive=[CHECKPOINT, 1], negative=[CHECKPOINT, 2], cfg=1.0),
        SIGMAS: _node("KarrasScheduler", steps=steps, sigma_max=40.0, sigma_min=0.03, rho=7.0),
    }


def start() -> dict:
    """Two samplers in five evaluations, without a start and with one that is fitted to the model."""
    graph = digits("5555", steps=5)
    graph[FIT] = _node(
        "LGSFitStart",
        guider=[GUIDER, 0],
        latent_image=[CHECKPOINT, 4],
        vae=[CHECKPOINT, 3],
        name="digit 5",
        evaluations=128,
    )
    graph[TEXT] = _node("PreviewAny", source=[FIT, 2])
    for first, name in ((33, "euler"), (40, "dpmpp_2m")):
        sampler, started, plain, decoded, begun, shown_begun, beside = (str(first + i) for i in range(7))
        graph[sampler] = _node("KSamplerSelect", sampler_name=name)
        graph[started] = _node("LGSStart", sampler=[sampler, 0], sigmas=[SIGMAS, 0], start=[FIT, 0])
        graph |= _drawn([sampler, 0], [SIGMAS, 0], plain, decoded)
        graph |= _drawn([started, 0], [started, 1], begun, shown_begun)
        graph[beside] = _stitched(decoded, shown_begun)
    graph[STARTED] = _stitched("39", "46")
    graph[SAVE] = _node("SaveImage", images=[STARTED, 0], filename_prefix="lgs_start")
    return graph


def start_load() -> dict:
    """A start from its file, before LGS Sampler."""
    graph = digits("0123456789", steps=10)
    graph[FIT] = _node("LGSLoadStart", file="bundled digits")
    graph[TEXT] = _node("PreviewAny", source=[FIT, 1])
    graph[LGS] = _node("LGSSampler")
    graph[START] = _node("LGSStart", sampler=[LGS, 0], sigmas=[SIGMAS, 0], start=[FIT, 0])
    graph |= _drawn([START, 0], [START, 1], SAMPLING, DECODE)
    graph[SAVE] = _node("SaveImage", images=[DECODE, 0], filename_prefix="lgs_start_load")
    return graph


EXAMPLES = {
    "lgs_txt2img": (txt2img, HOW + ADVICE),
    "lgs_img2img": (
        img2img,
        HOW + "Choose an image of your own in Load Image; *denoise* says how much changes.\n\n" + ADVICE,
    ),
    "lgs_inpaint": (
        inpaint,
        HOW + "Choose an image in Load Image, right-click it, *Open in MaskEditor*, and paint over what is to change. "
        "The rest stays as it is.\n\n" + ADVICE,
    ),
    "lgs_compare_samplers": (
        compare_samplers,
        HOW + "From the same noise in as many steps, one evaluation of the model each; the title of each picture says "
        "by whom. In the one that is saved they stand side by side: dpmpp_2m, dpmpp_2m_sde, LGS Sampler.\n\n" + ADVICE,
    ),
    "lgs_report": (
        report,
        HOW
        + "LGS Report draws what the run was like, step by step, and says which settings would do better.\n\n"
        + ADVICE,
    ),
    "lgs_start": (
        start,
        "Press Run: it needs no checkpoint. Fit LGS Start asks the model at pure noise, once, and keeps what it finds "
        "in *models/lgs/starts*; LGS Start then takes the upper noise levels at no evaluation. From left to right, "
        "each in five evaluations: Euler, Euler with the start, DPM-Solver++(2M), and it with the start.",
    ),
    "lgs_start_load": (
        start_load,
        "Press Run: it needs no checkpoint. Load LGS Start takes a start that Fit LGS Start has kept: here the bundled "
        "one. Wire both outputs of LGS Start into the sampling node.",
    ),
    "lgs_covariance": (
        covariance,
        HOW + "Choose an image of your own in Load Image. LGS Covariance adds noise of level *sigma* to it and shows "
        "what the model then leaves open: the standard deviation of each pixel, the principal components, and "
        "pictures drawn from the posterior.",
    ),
}


def with_digits(graph: dict, digits: str) -> dict:
    """A copy with the bundled model in the place of the checkpoint, its prompts and its empty latent."""
    graph = copy.deepcopy(graph)
    demo = {(CHECKPOINT, 0): 0, (POSITIVE, 0): 1, (NEGATIVE, 0): 2, (CHECKPOINT, 2): 3, (EMPTY, 0): 4}
    for node in (POSITIVE, NEGATIVE, EMPTY):
        graph.pop(node, None)
    graph[CHECKPOINT] = _node("LGSDemoModel", digits=digits)
    for node in graph.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and tuple(value) in demo:
                node["inputs"][name] = [CHECKPOINT, demo[tuple(value)]]
    graph[GUIDER]["inputs"]["cfg"] = 1.0
    return graph


def _node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def _sampled(sampler: str, sampling: str, decode: str) -> dict:
    """A sampler's run on the noise, guider and noise levels that all share, and its picture."""
    shared = {"noise": [NOISE, 0], "guider": [GUIDER, 0], "sigmas": [SIGMAS, 0], "latent_image": [EMPTY, 0]}
    return {
        sampling: _node("SamplerCustomAdvanced", sampler=[sampler, 0], **shared),
        decode: _node("VAEDecode", samples=[sampling, 0], vae=[CHECKPOINT, 2]),
    }


def _drawn(sampler: list, sigmas: list, sampling: str, decode: str) -> dict:
    """The bundled model's pictures by a sampler on some noise levels."""
    shared = {"noise": [NOISE, 0], "guider": [GUIDER, 0], "latent_image": [CHECKPOINT, 4]}
    return {
        sampling: _node("SamplerCustomAdvanced", sampler=sampler, sigmas=sigmas, **shared),
        decode: _node("VAEDecode", samples=[sampling, 0], vae=[CHECKPOINT, 3]),
    }


def _stitched(left: str, right: str) -> dict:
    """Pictures side by side."""
    beside = {"direction": "right", "match_image_size": True, "spacing_width": 0, "spacing_color": "white"}
    return _node("ImageStitch", image1=[left, 0], image2=[right, 0], **beside)


def complete(infos: dict[str, dict], graph: dict) -> dict:
    """A copy in which inputs of ours that the declaration leaves out have their defaults, as the editor posts."""
    graph = copy.deepcopy(graph)
    for node in graph.values():
        if node["class_type"] in OURS:
            options = infos[node["class_type"]]["input"].get("optional", {})
            defaults = {name: entry[1]["default"] for name, entry in options.items() if "default" in entry[1]}
            node["inputs"] = defaults | node["inputs"]
    return graph
