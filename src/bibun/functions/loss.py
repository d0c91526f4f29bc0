"""Losses, with the signatures of ``torch.nn.functional``."""
