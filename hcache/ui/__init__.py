"""The dashboard's parts: one function a panel. With dashboard.py and pages/ the only importers of Streamlit."""
