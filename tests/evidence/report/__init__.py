"""``make report``: the evidence for and against the full covariance, as a page to read."""
