"""An application whose button shows a new value of the server's: `gradio_app.py PORT PATH`."""

import sys
from uuid import uuid4

import gradio

with gradio.Blocks() as page:
    shown, more = gradio.Markdown("value=none"), gradio.Button("more")
    more.click(lambda: f"value={uuid4().hex}", None, shown)

page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), root_path=sys.argv[2], quiet=True)
