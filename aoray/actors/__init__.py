"""Evaluation: the order of messages, instances, results, and the Ray actor that holds them."""
