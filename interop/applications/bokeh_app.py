"""An application whose server answers every value that the page sets."""

from bokeh.io import curdoc
from bokeh.models import Div, TextInput

asked, answer = TextInput(name="asked"), Div(name="answer")
asked.on_change("value", lambda _attribute, _old, new: answer.update(text=f"seen {new}"))
curdoc().add_root(asked)
curdoc().add_root(answer)
