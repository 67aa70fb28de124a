"""The one sampling loop, and what it needs: schedules and noise."""
