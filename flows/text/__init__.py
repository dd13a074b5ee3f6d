"""What people read: the live display, the summary at a run's end, forecasts and labels in words."""
