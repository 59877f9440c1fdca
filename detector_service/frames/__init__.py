"""From the bytes of a frame to upright pixels; pure functions that run on worker threads."""
