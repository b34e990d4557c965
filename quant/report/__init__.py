"""The report of a quantized model: one page for people, one JSON for machines."""
