"""The zoo: trained robust networks by name, with recipe, verdict and card; verified, no pickle."""

from everychip.zoo.entry import Trained, load
from everychip.zoo.places import shipped

__all__ = ["Trained", "load", "shipped"]
