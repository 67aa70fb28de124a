"""The dashboard's parts: one function a panel. With dashboard.py and pages/ the only importers
of Streamlit.
"""

from ..starting import wait_asleep

wait_asleep()  # before anything here imports torch
