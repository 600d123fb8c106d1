"""TotalSegmentator."""
