"""Evaluation: the rules of one process's order, its WASM instance, its results, and the Ray actor that holds them."""
