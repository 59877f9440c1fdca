"""What a process tells of itself, to whoever runs it; both processes use it, and it knows neither."""
