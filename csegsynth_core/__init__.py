"""CSegSynth: from what anybody can say about a person to that person's synthetic brain maps."""

__version__ = "0.1.0"

RESEARCH_USE = "Research use only, not for diagnosis."
"""What pages, figures and files say about themselves."""
