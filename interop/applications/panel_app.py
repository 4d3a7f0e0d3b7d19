"""An application whose server answers every value that the page sets."""

import panel

panel.extension(reconnect=True)
asked, answer = panel.widgets.TextInput(name="asked"), panel.widgets.TextInput(name="answer")
asked.param.watch(lambda event: answer.param.update(value=f"seen {event.new}"), "value")
panel.Column(asked, answer).servable()
