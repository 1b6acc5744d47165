"""The Streamlit app: pages, figures, the launcher."""
