"""What people read on a terminal: the live display, summaries, forecasts, label quality."""
