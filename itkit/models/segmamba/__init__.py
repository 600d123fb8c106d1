"""SegMamba: a U-shaped network whose encoder scans volumes in three directions."""
