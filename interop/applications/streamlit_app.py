"""An application with a counter in the server's session."""

import streamlit

count = streamlit.session_state.setdefault("count", 0)
if streamlit.button("more"):
    streamlit.session_state.count = count = count + 1
streamlit.markdown(f"count={count}")
