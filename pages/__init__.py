"""Streamlit pages; `app.py` is the router. No maths here: everything is computed in `csegsynth_core`."""
