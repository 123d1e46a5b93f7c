"""Networks: denoisers, autoencoder, segmenter and feature encoders, thin over MONAI."""
