"""The studies behind the product's defaults, run by ``make bench``.

    products    the error of Jacobian-vector products: over the step h, over sigma, in each precision
    symmetry    how symmetric the model's Jacobian is, and whether it matters
    adaptive    what a tolerance saves
    ranges      at which noise levels the full covariance pays
    attention   forward mode through attention: time and memory of each implementation
    many_gpus/  what limits a batch on 10, 100 and 1,000 GPUs

`networks` has the denoisers that `products` looks at.
"""
