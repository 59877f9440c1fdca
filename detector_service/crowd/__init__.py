"""From boxes to figures: how many people, how crowded, what to warn of; pure functions."""
