"""Training loops, evaluation and their commands."""
