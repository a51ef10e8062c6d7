"""Models that hold TensorFlow's own fake quantisers: what they mean for Ascend."""
