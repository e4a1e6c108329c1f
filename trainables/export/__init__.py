"""Exporting a result: weights that plain transformers loads, checked, with a model card; GGUF, Ollama, hub."""
