"""Training: labelled samples become a LoRA adapter, which serves once it has won on held-out samples."""
