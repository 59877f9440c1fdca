"""Whether the service does what it is there for: not whether it runs, but whether frames get results.

``judgement`` is the thinking, without a clock; ``watch`` is the shell around it, which looks, probes and tells.
"""
