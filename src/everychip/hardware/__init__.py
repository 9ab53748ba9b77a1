"""A network on a hardware: where each weight stands, its chips, its coverage and its calibration."""
