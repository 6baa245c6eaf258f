import pytest
import torch

from evidence.models import cifar
from evidence.models.classifier import CLASSIFIERS, accuracy, load_classifier
from evidence.models.data import DATA_SETS
from evidence.models.marks import needs_photographs
from evidence.models.mnist import held_out_digits
from evidence.training.train_classifier import shifted


def test_more_than_99_percent_of_the_held_out_digits_are_read_right():
    assert accuracy(load_classifier(), *held_out_digits()) > 0.99


@needs_photographs
def test_more_than_85_percent_of_the_held_out_photographs_are_read_right():
    images, labels = cifar.held_out_pictures()

    assert accuracy(load_classifier("cifar"), images[:2000], labels[:2000]) > 0.85


@pytest.mark.parametrize("data", CLASSIFIERS)
def test_features_are_what_the_logits_are_made_of(data):
    classifier = load_classifier(data)
    images = torch.rand(10, DATA_SETS[data].channels, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1

    features = classifier.features(images)

    assert features.shape == (10, classifier.width)
    assert classifier.head(features).equal(classifier(images))


@pytest.mark.parametrize(("data", "most"), [("digits", 0.3), ("cifar", 1.1)])
def test_weights_stay_small(data, most):
    assert CLASSIFIERS[data].weights.stat().st_size < most * 1e6


def test_each_data_set_has_its_classifier():
    assert set(CLASSIFIERS) == set(DATA_SETS)


def test_pictures_are_shifted_and_their_border_is_repeated():
    torch.manual_seed(0)
    image = torch.arange(32 * 32.0).reshape(1, 1, 32, 32)

    seen = {int(shifted(image, 2)[0, 0, 15, 15] - image[0, 0, 15, 15]) for _ in range(500)}
    corners = {int(shifted(image, 2)[0, 0, 0, 0]) for _ in range(500)}

    assert seen == {32 * dy + dx for dy in range(-2, 3) for dx in range(-2, 3)}
    assert corners == {32 * dy + dx for dy in range(3) for dx in range(3)}
