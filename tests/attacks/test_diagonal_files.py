"""Files that are no learned diagonal, or a damaged one, or one that lies: refused before anything is allocated."""

import copy
import json
import random
import resource
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lgs
from lgs.diagonal import Description, DiagonalNetwork, load_diagonal

SHIPPED = Path(lgs.__file__).resolve().parents[1] / "models" / "digits-diagonal.safetensors"


def refused(file, *parts):
    with pytest.raises(lgs.InvalidArgument) as error:
        load_diagonal(file)
    for part in (f"diagonal: {file} is no learned diagonal", "expected", "got", "Choose", *parts):
        assert part in str(error.value), str(error.value)


@pytest.fixture
def rewritten(tmp_path):
    """Writes the shipped file with its tensors or metadata changed."""
    with safe_open(SHIPPED, "pt") as tensors:
        metadata = tensors.metadata()
    weights = load_file(SHIPPED)

    def write(change=lambda weights: None, **entries):
        changed = dict(weights)
        change(changed)
        kept = {name: value for name, value in (metadata | entries).items() if value is not None}
        save_file(changed, tmp_path / "changed.safetensors", metadata=kept)
        return tmp_path / "changed.safetensors"

    return write


def test_a_copy_is_as_good(rewritten):
    """What all others are compared with."""
    x, sigma = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)), torch.ones(4)
    assert torch.equal(load_diagonal(str(rewritten()))(x, sigma), load_diagonal(SHIPPED)(x, sigma))


def test_missing_or_a_folder(tmp_path):
    refused(tmp_path / "none.safetensors", "got none of this name")
    refused(tmp_path, "got a folder")


CONTENTS = {
    "empty": b"",
    "text": b"not a model\n" * 100,
    "zeros": bytes(1000),
    "a header of 2^60 bytes": struct.pack("<Q", 2**60) + b"{}",
    "no JSON": struct.pack("<Q", 8) + b"{{{{{{{{",
    "nested": struct.pack("<Q", 50_000) + b"[" * 50_000,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_no_safetensors(content, tmp_path):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(content)
    refused(file, "a safetensors file")


@pytest.mark.parametrize("kept", [4, 100, 10_000, -1])
def test_truncated(kept, tmp_path):
    file = tmp_path / "cut.safetensors"
    file.write_bytes(SHIPPED.read_bytes()[:kept])
    refused(file, "a safetensors file")


def test_another_model_s_weights():
    refused(SHIPPED.with_name("digits.safetensors"), "format 'lgs-diagonal' in its metadata, got None")


@pytest.mark.parametrize("name", [*Description().as_metadata()])
def test_an_entry_is_missing(rewritten, name):
    refused(rewritten(**{name: None}), f"expected {name}", "in its metadata, got None")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "lgs"),
        ("version", "2"),
        ("process", "flow"),
        ("output", "covariance"),
        ("channels", "0"),
        ("channels", "1.5"),
        ("height", "30"),
        ("width", "-32"),
        ("classes", "many"),
        ("features", "12"),
        ("inner", "1000000000000"),
        ("embedding", "1e3"),
        ("sigma_min", "0"),
        ("sigma_min", "50"),
        ("sigma_max", "inf"),
        ("sigma_data", "nan"),
        ("sigma_data", "-1"),
    ],
)
def test_an_entry_is_wrong(rewritten, name, value):
    refused(rewritten(**{name: value}), name, "in its metadata, got")


@pytest.mark.parametrize(
    ("entries", "tensor"),
    [
        ({"inner": "1024", "features": "1024", "embedding": "4096"}, "attention.norm.bias"),
        ({"height": "4096", "width": "4096"}, "position"),
        ({"classes": "99999"}, "label.weight"),
        ({"channels": "3"}, "conv_in.weight"),
    ],
)
def test_metadata_that_lie_about_the_network(rewritten, entries, tensor):
    refused(rewritten(**entries), tensor, "as its metadata says, got shape")


def test_a_header_that_claims_a_huge_tensor_allocates_nothing(tmp_path):
    """Every shape as the metadata say, a network of 600 GB, in a file of a few kilobytes."""
    wide = {"inner": 1024, "features": 1024, "embedding": 4096, "classes": 100_000, "height": 4096, "width": 4096}
    description = Description(**wide)
    with torch.device("meta"):
        shapes = {name: list(value.shape) for name, value in DiagonalNetwork(description).state_dict().items()}
    header, end = {"__metadata__": description.as_metadata()}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    file = tmp_path / "huge.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(file, "a safetensors file")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_a_tensor_too_few_or_too_many(rewritten):
    refused(rewritten(lambda weights: weights.pop("conv_in.bias")), "shape [16] for conv_in.bias", "got no tensor")
    refused(rewritten(lambda weights: weights.update(more=torch.ones(2))), "no tensor more", "got shape [2]")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(rewritten, value):
    refused(rewritten(lambda weights: weights["position"].fill_(value)), "finite numbers in position")


def test_weights_that_are_integers(rewritten):
    whole = lambda weights: weights.update(position=weights["position"].long())  # noqa: E731
    refused(rewritten(whole), "finite numbers in position")


def mutated(value, chance: random.Random):
    """The same but for one part, at any depth."""
    if isinstance(value, dict | list) and value and chance.random() < 0.9:
        value = copy.copy(value)
        place = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        if chance.random() < 0.15:
            del value[place]
        else:
            value[place] = mutated(value[place], chance)
        return value
    numbers = [0, -1, 1, 2**31, 2**63, 2**64, 0.5, "1", "0", "-1", "999999999", "1e9", "nan"]
    return chance.choice([None, True, "", "F32", "F16", "BF16", "I64", "BOOL", [], {}, [1], *numbers])


@pytest.mark.parametrize("seed", range(4))
def test_mutated_headers_and_bytes(seed: int, tmp_path):
    """150 files: each is refused in words, or is a network that answers."""
    content, chance = SHIPPED.read_bytes(), random.Random(seed)
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    file, refusals = tmp_path / "mutated.safetensors", 0
    for _ in range(150):
        if chance.random() < 0.7:
            text = json.dumps(mutated(header, chance)).encode()
            file.write_bytes(len(text).to_bytes(8, "little") + text + data)
        else:
            damaged = bytearray(content)
            for _ in range(chance.randrange(1, 20)):
                damaged[chance.randrange(size + 8 if chance.random() < 0.7 else len(content))] = chance.randrange(256)
            file.write_bytes(damaged[: chance.choice([len(content), len(content), chance.randrange(len(content))])])
        try:
            answer = load_diagonal(file)(torch.ones(1, 1, 32, 32), torch.ones(1))
            assert answer.shape == (1, 1, 32, 32)
        except lgs.InvalidArgument:
            refusals += 1
    assert refusals > 100, "the mutations change nothing"
