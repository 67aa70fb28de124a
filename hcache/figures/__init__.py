"""Results in, figures out: plotly figures, SVG and HTML text. No files, no Streamlit, no torch."""
