"""Networks, one file per model family."""
