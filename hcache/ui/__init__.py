"""The parts of the dashboard, with one function per panel. Only this package, dashboard.py and
pages/ import Streamlit.
"""

from ..starting import wait_asleep

wait_asleep()  # before anything here imports torch
