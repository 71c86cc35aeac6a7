"""Language networks and LoRA adapters, as the libraries of HuggingFace keep them in folders."""
