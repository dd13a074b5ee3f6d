"""People and quality: gold labels, corrections, review, scores, export."""
