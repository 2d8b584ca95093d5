"""The moving brain in the browser: one picture fades into the next, and its slider and its buttons take the focus,
say what they are and obey keys.

Plotly changes pictures at once, and draws controls as pictures that know the mouse alone. No server is asked.
"""

from __future__ import annotations

import json
from string import Template
from typing import Final

import streamlit as st

NAME: Final = "Age of the brain shown"
"""What the slider is called where it is read aloud; its value is what is written above the brain."""

# Marks are set again whenever Plotly has drawn: for every frame, and for another film in the same place. Keys are
# listened to in one place for as long as the page lives. A picture that was replaced stays over the new one while it
# fades, below those that still do: outside of Plotly's layer of images, which it would otherwise tidy up.
_SCRIPT: Final = Template("""<script>(() => {
  const place = $place, name = $name, said = ['Play over the ages', 'Pause'];
  const set = (node, marks) => {
    for (const [mark, value] of Object.entries(marks))
      if (node.getAttribute(mark) !== String(value)) node.setAttribute(mark, value);
  };
  const label = root => {
    const gd = root.querySelector('.js-plotly-plot'), full = gd?._fullLayout, one = full?.sliders?.[0];
    const slider = gd?.querySelector('.slider-group');
    if (!one || !slider) return;
    const ages = one.steps.map(step => Number(step.label)), now = one.active;
    const text = (full.annotations.at(-1)?.text ?? '').replace(/<[^>]*>/g, '').replace(/\\s+/g, ' ').trim();
    set(slider, {tabindex: 0, role: 'slider', 'aria-label': name, 'aria-orientation': 'horizontal',
      'aria-valuemin': ages[0], 'aria-valuemax': ages.at(-1), 'aria-valuenow': ages[now], 'aria-valuetext': text});
    gd.querySelectorAll('.updatemenu-button').forEach((button, n) =>
      set(button, {tabindex: 0, role: 'button', 'aria-label': said[n]}));
  };
  const picture = root => root.querySelector('.imagelayer image');
  const fade = root => {
    const one = picture(root), now = one?.getAttribute('href') ?? null, before = film.shown;
    if (now === before) return;
    film.shown = now;
    if (!now || !before || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
    const old = one.cloneNode();
    old.setAttribute('href', before);
    old.classList.add('fading');
    one.parentNode.after(old);
    old.animate([{opacity: 1}, {opacity: 0}], {duration: 140, fill: 'forwards'}).onfinish = () => old.remove();
  };
  window.csegsynthFilm?.observer.disconnect();
  const first = !window.csegsynthFilm, root = document.querySelector(place);
  let waiting = 0;
  const observer = new MutationObserver(() => {
    fade(root);
    clearTimeout(waiting);
    waiting = setTimeout(label, 20, root);
  });
  const film = window.csegsynthFilm = {observer, shown: root && (picture(root)?.getAttribute('href') ?? null)};
  if (root) {
    observer.observe(root, {childList: true, subtree: true, attributes: true});
    label(root);
  }
  if (!first) return;
  const still = {mode: 'immediate', frame: {duration: 0, redraw: true}, transition: {duration: 0}};
  document.addEventListener('keydown', event => {
    const gd = event.target.closest?.(place + ' .js-plotly-plot');
    if (!gd || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest('.updatemenu-button')) {
      if (event.key !== ' ' && event.key !== 'Enter') return;
      event.target.dispatchEvent(new MouseEvent('click', {bubbles: true, view: window}));
    } else if (event.target.closest('.slider-group')) {
      const one = gd._fullLayout.sliders[0], last = one.steps.length - 1, far = Math.ceil(last / 5);
      const to = {ArrowLeft: one.active - 1, ArrowDown: one.active - 1, ArrowRight: one.active + 1,
        ArrowUp: one.active + 1, PageDown: one.active - far, PageUp: one.active + far, Home: 0, End: last}[event.key];
      if (to === undefined) return;
      window.Plotly.animate(gd, [one.steps[Math.min(Math.max(to, 0), last)].args[0][0]], still).catch(() => {});
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
})() // $token
</script>""")


def listen(container: str, *content: object) -> None:
    """Make the film in a container obey keys: arrows move one age, PageUp and PageDown a fifth of all ages, Home and
    End to the ends; Enter or space press a button that has the focus.

    Args:
        container: key of the Streamlit container that holds the chart; call this within it.
        content: what the film shows; the script runs again when it changes.
    """
    given = {"place": json.dumps(f".st-key-{container}"), "name": json.dumps(NAME)}
    token = json.dumps(repr(content)).replace("<", "")
    st.html(_SCRIPT.substitute(given, token=token), unsafe_allow_javascript=True)
