"""Methods: training objectives, one file for each paper, and the controls that test their claims."""

from everychip.methods.adversarial_weight import AdversarialWeight
from everychip.methods.base import Method, Objective
from everychip.methods.censored import Censored
from everychip.methods.compensators import compensate
from everychip.methods.consistency import Consistency
from everychip.methods.correctnet import CorrectNet
from everychip.methods.deep_supervision import DeepSupervision
from everychip.methods.distillation import Distillation
from everychip.methods.irs import IRS
from everychip.methods.learned import LearnedInputs, LearnedScales
from everychip.methods.noise_injection import NoiseInjection
from everychip.methods.over_noise import OverNoise
from everychip.methods.ovf import OVF
from everychip.methods.resilient import Resilient
from everychip.methods.sam import SAM
from everychip.methods.samson import SAMSON
from everychip.methods.temperature import Temperature
from everychip.methods.temperature_statistics import TemperatureStatistics
from everychip.methods.vanilla import Vanilla
from everychip.methods.vant import VANT

__all__ = [
    "IRS",
    "OVF",
    "SAM",
    "SAMSON",
    "VANT",
    "AdversarialWeight",
    "Censored",
    "Consistency",
    "CorrectNet",
    "DeepSupervision",
    "Distillation",
    "LearnedInputs",
    "LearnedScales",
    "Method",
    "NoiseInjection",
    "Objective",
    "OverNoise",
    "Resilient",
    "Temperature",
    "TemperatureStatistics",
    "Vanilla",
    "compensate",
]
