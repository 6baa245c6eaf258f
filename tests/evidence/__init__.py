"""The laboratory: what the product's claims rest on. None of it ships.

    report/     ``make report``: the evidence for and against the full covariance
    bench/      ``make bench``: what the plugin costs, and the studies behind its defaults
    studies/    those studies: products with J, symmetry of J, tolerance, noise levels, attention
    demo/       ``make demo``: digits from the bundled model, sampler by sampler
    gpu/        checks and timings on a CUDA device
    rivals/     samplers of ComfyUI, diffusers and k-diffusion, to compare with
    models/     the small trained networks, their data, and distances between sets of pictures
    training/   how those networks were trained
    figures/    the pictures that README.md shows

``README.md`` is the evidence; it is printed from ``results.json`` and not edited by hand. Run everything with
the folder ``tests`` on PYTHONPATH, for example ``python -m evidence.demo --out out/demo``.
"""
