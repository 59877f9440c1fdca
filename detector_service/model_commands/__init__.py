"""The commands of ``detector models`` that work with files, on the machine where the service is installed.

They are part of the service, whose settings and engines they use, and come to the command line by the entry
point ``crowd_detector.models`` (pyproject.toml). ``commands`` needs what the command line needs; everything
that needs more is imported where a command is run.
"""
