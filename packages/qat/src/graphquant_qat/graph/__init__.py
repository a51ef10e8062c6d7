"""What changes a graph for quantisation-aware training. It imports TensorFlow."""
