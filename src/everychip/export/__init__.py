"""Export: a trained network for another simulator or as ONNX, and whether both say the same."""

from everychip.export.agreement import Agreement, agreement
from everychip.export.folder import load_aihwkit, write_aihwkit
from everychip.export.networks import to_aihwkit
from everychip.export.onnx_file import save_onnx
from everychip.export.onnx_run import write_onnx

__all__ = [
    "Agreement",
    "agreement",
    "load_aihwkit",
    "save_onnx",
    "to_aihwkit",
    "write_aihwkit",
    "write_onnx",
]
