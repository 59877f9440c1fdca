"""What is made once of a model's file, and kept: by whom, where, and for how long."""
