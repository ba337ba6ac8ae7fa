"""Safetensors checkpoints: single files and Hugging Face directories, read in place and rewritten."""
