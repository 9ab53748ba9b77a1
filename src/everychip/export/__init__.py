"""Export: a trained network as a model of another simulator, and whether both say the same."""

from everychip.export.agreement import Agreement, agreement
from everychip.export.folder import load_aihwkit, write_aihwkit
from everychip.export.networks import to_aihwkit

__all__ = ["Agreement", "agreement", "load_aihwkit", "to_aihwkit", "write_aihwkit"]
