"""Whose frame is next, and the threads that work on it.

``fair_queue``, ``rate_limiter`` and ``reorder_buffer`` hold the thinking and own no clock, lock or thread;
``workers`` is the shell around them.
"""
