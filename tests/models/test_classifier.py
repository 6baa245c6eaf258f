from models import CLASSIFIER
from models.classifier import FEATURES, accuracy, load_classifier
from models.mnist import held_out_digits


def test_more_than_99_percent_of_the_held_out_digits_are_read_right():
    assert accuracy(load_classifier(), *held_out_digits()) > 0.99


def test_features_are_what_the_logits_are_made_of():
    classifier = load_classifier()
    images, _ = held_out_digits()

    features = classifier.features(images[:10])

    assert features.shape == (10, FEATURES)
    assert classifier.head(features).equal(classifier(images[:10]))


def test_weights_stay_small():
    assert CLASSIFIER.stat().st_size < 1_000_000
