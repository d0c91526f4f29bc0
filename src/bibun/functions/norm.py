"""Normalisations, with the signatures of ``torch.nn.functional``."""
