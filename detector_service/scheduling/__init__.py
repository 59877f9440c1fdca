"""Whose frame is next, and the threads that work on it.

``fair_queue``, ``pacing`` and ``in_order`` hold the thinking and own no clock, lock or thread;
``workers`` is the shell around them.
"""
