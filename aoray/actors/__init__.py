"""Evaluation: the order of messages, WASM instances, results, and the Ray actor that holds them."""
