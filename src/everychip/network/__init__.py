"""Any network of PyTorch: how it is run, walked, traced and left as it was. Knows arrays, no hardware."""
