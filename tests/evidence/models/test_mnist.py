import torch

from evidence.models.mnist import held_out_digits


def test_held_out_digits_are_500_of_each_on_a_black_border():
    images, labels = held_out_digits()

    assert images.shape == (5000, 1, 32, 32) and images.dtype == torch.float32
    assert labels.bincount().tolist() == [500] * 10
    assert images.min() == -1 and images.max() == 1
    assert (images[..., :2, :] == -1).all() and (images[..., -2:] == -1).all()
