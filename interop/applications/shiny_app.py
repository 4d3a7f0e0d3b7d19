"""An application with a counter in the server's session."""

from shiny import App, render, ui


def server(input, output, session):
    @render.text
    def count():
        return f"count={input.more()}"


app = App(ui.page_fluid(ui.input_action_button("more", "more"), ui.output_text("count")), server)
