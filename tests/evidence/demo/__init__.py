"""The embedded default host: a headless batch of digits, through the plugin, with a bundled model.

    python -m evidence.demo --out out/demo            (`make demo`; the folder ``tests`` on PYTHONPATH)

The same digits from the same noise with several samplers, as labelled pictures, and how far each set
is from held-out real digits. `evidence.demo.job` makes the digits, `evidence.models.distance` measures them,
`evidence.demo.pictures` and `evidence.demo.table` show them.
"""
