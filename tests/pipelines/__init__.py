"""LGS as a scheduler of diffusers, in diffusers' own pipelines.

    pytest tests/pipelines
    DIFFUSERS_PATH=PATH/TO/diffusers pytest tests/pipelines   # with diffusers' own tests of schedulers

DIFFUSERS_PATH  a checkout of github.com/huggingface/diffusers, of which its folder tests/ is used; without it the tests
                of test_common_suite.py are skipped

    tiny.py     pipelines around tiny networks with random weights; nothing is downloaded
    models.py   predictions of a model whose posterior mean is known, in the way of diffusers' models
"""
