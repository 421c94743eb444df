"""Exports: children as files that others can load.

`export` writes a child in one of three formats, and compares what is read back with the child:
tensors as safetensors beside a JSON manifest, which `load_child` makes a network of; a graph by
`torch.export`; or ONNX. The two graphs need no code of the network's.
"""

from ecomp_deap.exports.child import load_child
from ecomp_deap.exports.writing import export

__all__ = ["export", "load_child"]
