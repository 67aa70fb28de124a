"""The sampling loop, with schedules and noise."""
