"""The camera of a turned surface, kept when Streamlit makes its chart anew: for another person or another colour."""

from __future__ import annotations

import hashlib
import json
from string import Template
from typing import Any, Final

import streamlit as st

KEY: Final = "surface-chart"
"""Key of the chart."""

WAIT_S: Final = 20
"""How long a new chart is waited for."""

HOLD_S: Final = 3
"""How long its view is held against Streamlit, which draws a new chart several times; not after a touch."""

# Streamlit's plotly.js is not to be had by name, so the scene does what it does at the end of a drag: take a view and
# save it into the layout. Without these functions, or where nothing was turned, the chart stays as it was made.
_SCRIPT: Final = Template("""<script>(() => {
  const side = $side, chart = $chart, end = performance.now() + 1000 * $wait;
  if (window.csegsynthView?.side !== side) window.csegsynthView = {side};
  const {camera, aspectratio} = window.csegsynthView;
  const differs = other => ['eye', 'up', 'center'].some(
    part => ['x', 'y', 'z'].some(axis => Math.abs(other[part][axis] - camera[part][axis]) > 1e-6));
  const hold = (gd, until) => {
    const full = gd._fullLayout?.scene, scene = full?._scene;
    if (!gd.isConnected || gd.csegsynthTouched || performance.now() > until) return;
    if (scene?.setViewport && scene.saveLayout && differs(scene.getCamera())) {
      scene.setViewport({camera, aspectratio: aspectratio ?? full.aspectratio});
      scene.saveLayout(gd.layout);
    }
    setTimeout(hold, 30, gd, until);
  };
  const begin = () => {
    const gd = document.querySelector(chart);
    if (!gd?._fullLayout?.scene?._scene || gd.csegsynthSeen) {
      if (performance.now() < end) setTimeout(begin, 30);
      return;
    }
    gd.csegsynthSeen = true;
    for (const touch of ['pointerdown', 'wheel'])
      gd.addEventListener(touch, () => { gd.csegsynthTouched = true; }, {capture: true, passive: true});
    gd.on('plotly_relayout', moved => {
      for (const part of ['camera', 'aspectratio'])
        if (gd.csegsynthTouched && moved['scene.' + part])
          window.csegsynthView[part] = structuredClone(moved['scene.' + part]);
    });
    if (camera) hold(gd, performance.now() + 1000 * $hold);
  };
  begin();
})() // $token
</script>""")


def keep(side: str, *content: Any) -> None:
    """See a new chart as the last one was turned; from the side chosen, where another side is chosen.

    Args:
        content: what the chart shows; the script runs again when it changes.
    """
    token = hashlib.sha256(repr((side, content)).encode()).hexdigest()[:16]
    chart = f".st-key-{KEY} .js-plotly-plot"
    given = {"side": json.dumps(side), "chart": json.dumps(chart), "wait": WAIT_S, "hold": HOLD_S}
    st.html(_SCRIPT.substitute(given, token=token), unsafe_allow_javascript=True)
