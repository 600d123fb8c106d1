"""VMamba: a visual backbone of selective scans in four directions."""
