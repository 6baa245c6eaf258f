"""What the plugin costs: ratios, measured side by side in one run."""
