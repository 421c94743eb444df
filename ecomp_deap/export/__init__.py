"""Export: children as files that others can load.

A child is two files: its tensors as safetensors, and a JSON manifest that says how to build the
module, holds its measurements, and the SHA-256 of the tensors.
"""

from ecomp_deap.export.child import load_child, save_child

__all__ = ["load_child", "save_child"]
