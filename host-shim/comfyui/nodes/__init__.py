"""The eight nodes, a file each, and what they alone use.

sampler.py, progress.py              LGS Sampler, and how the progress bar follows it
run_report.py, run_history.py        LGS Report, and which of a sampler's runs made a latent
covariance.py, colour_map.py         LGS Covariance
load_diagonal.py                     Load Diagonal Covariance
model_files.py                       the files that a loader offers
fit_start.py, pictures.py            Fit LGS Start, and the pictures that a start is fitted to
load_start.py, start_files.py        Load LGS Start, and where starts are kept
start.py                             LGS Start
start_words.py                       a start in words, and as a picture
demo_model.py                        LGS Demo Model
schema.py                            their inputs and outputs, from ``manifests/nodes.json``
"""
