"""From pixels to boxes: one resize, one inference for each model, head decoding and NMS."""
