"""What goes wrong in training, told with its cause and its cure."""


class TrainingError(Exception):
    """Training or measuring cannot go on; the text names the file or the option, and what to do."""
