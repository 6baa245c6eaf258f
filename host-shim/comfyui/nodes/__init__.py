"""The five nodes, a file each, and what they alone use.

sampler.py, progress.py              LGS Sampler, and how the progress bar follows it
run_report.py, run_history.py        LGS Report, and which of a sampler's runs made a latent
covariance.py, colour_map.py         LGS Covariance
load_diagonal.py                     Load Diagonal Covariance
demo_model.py                        LGS Demo Model
schema.py                            their inputs and outputs, from ``manifests/nodes.json``
"""
