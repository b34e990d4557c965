"""Somebody's own streaming torch module, by the official converter and quantizer (extra `litert`).

file.py:build -> `own` -> torch.export -> `lowering` (litert-torch) -> `step_file` -> `calibration`
-> `quantizing` (litert-quantizer) -> a model file with our manifest; `pipeline` strings them
together.
"""
