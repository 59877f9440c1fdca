"""The detector: a gRPC service that finds faces and people in camera frames and says how crowded they are.

A frame's way, folder by folder, each knowing only those before it:

``frames`` (bytes to upright pixels), ``engines`` (prepared images to raw predictions), ``detection``
(pixels to boxes), ``crowd`` (boxes to figures and alerts), ``pipeline`` (all of that for one frame),
``scheduling`` (whose frame is next, and the threads that work on it), ``rpc`` (streams and calls),
``server`` (the process).
"""
