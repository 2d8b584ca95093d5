"""CSegSynth: from what anybody can say about a person to that person's synthetic brain maps."""

__version__ = "0.1.0"
